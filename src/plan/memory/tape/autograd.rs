//! The graph that the forward pass leaves, and its backward pass.

use super::linear::Parameter;
use super::meter::{Held, Kind, Meter};
use super::{Block, Tape, Tensor};
use std::collections::BTreeMap;
use std::fmt;

/// Where the gradient of a tensor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Edge {
    /// Nowhere: nothing before it is trained.
    None,
    /// Into output `1` of node `0`.
    Node(usize, usize),
    /// Into a parameter.
    Leaf(usize),
}

/// How a node makes the gradient of one input.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Rule {
    /// Hands on the incoming gradient without copying.
    Pass,
    /// Takes `scratch` bytes while it computes `bytes`; a result of another size
    /// (broadcast operand, other type) is then reduced to `reduced`.
    Fresh {
        /// Bytes of the result before it is reduced.
        bytes: u64,
        /// Bytes taken while it is computed.
        scratch: u64,
        /// Bytes it is reduced to, if it is.
        reduced: Option<u64>,
    },
}

impl Rule {
    /// A result of `bytes` without scratch memory.
    pub(super) const fn fresh(bytes: u64) -> Self {
        Self::Fresh {
            bytes,
            scratch: 0,
            reduced: None,
        }
    }

    /// A result that is first `bytes` and is then summed or cast to `reduced`.
    pub(super) const fn reduced(bytes: u64, reduced: u64) -> Self {
        Self::Fresh {
            bytes,
            scratch: 0,
            reduced: if bytes == reduced {
                None
            } else {
                Some(reduced)
            },
        }
    }
}

#[derive(Debug)]
struct Node {
    inputs: Vec<(Edge, Rule)>,
    saved: Vec<Held>,
    scratch: u64,
    outputs: usize,
    kind: Kind,
}

/// A checkpointed part of the forward pass, to be run again.
pub(super) struct Rerun {
    pub(super) input: Tensor,
    pub(super) autocast: bool,
    pub(super) body: Block,
}

impl fmt::Debug for Rerun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rerun").finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Entry {
    Operator(Node),
    Checkpoint(Rerun),
}

/// Nodes in the order in which the forward pass made them.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Option<Entry>>,
    waiting: BTreeMap<(usize, usize), Held>,
    gradients: BTreeMap<usize, Held>,
    accumulating: bool,
}

/// What an operator records: where gradients go and by which rule, what it keeps.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// One edge and rule per input that may need a gradient.
    pub(super) inputs: Vec<(Edge, Rule)>,
    /// What the derivative needs.
    pub(super) saved: Vec<Held>,
    /// Scratch memory during the whole backward operator.
    pub(super) scratch: u64,
    /// Number of outputs.
    pub(super) outputs: usize,
}

impl Graph {
    pub(super) fn push_checkpoint(&mut self, rerun: Rerun) -> Edge {
        self.nodes.push(Some(Entry::Checkpoint(rerun)));
        Edge::Node(self.nodes.len() - 1, 0)
    }
}

impl Tape {
    /// Adds an operator to the graph if a gradient will flow through it.
    pub(super) fn record(&mut self, record: Record) -> Edge {
        let inputs: Vec<_> = record
            .inputs
            .into_iter()
            .filter(|(edge, _)| *edge != Edge::None)
            .collect();
        if !self.recording || inputs.is_empty() {
            return Edge::None;
        }
        self.saves += record.saved.len() as u64;
        self.graph.nodes.push(Some(Entry::Operator(Node {
            inputs,
            saved: record.saved,
            scratch: record.scratch,
            outputs: record.outputs.max(1),
            kind: match self.meter.kind() {
                Kind::Head => Kind::Head,
                _ => Kind::Scratch,
            },
        })));
        Edge::Node(self.graph.nodes.len() - 1, 0)
    }

    /// Makes a gradient flow back to `x` although nothing before it is trained,
    /// as training adapters with checkpointing does.
    pub(in super::super) fn require_gradient(&mut self, x: &Tensor) -> Tensor {
        if !self.recording {
            return x.clone();
        }
        let leaf = Edge::Leaf(self.next_parameter);
        self.next_parameter += 1;
        let edge = self.record(Record {
            inputs: vec![(leaf, Rule::Pass)],
            saved: vec![x.held.clone()],
            ..Record::default()
        });
        Tensor { edge, ..x.clone() }
    }

    /// Whether operators record at present.
    pub(super) const fn is_recording(&self) -> bool {
        self.recording
    }

    /// Runs the backward pass from `loss`; gradients of parameters stay.
    pub(in super::super) fn backward(&mut self, loss: Tensor) {
        let before = self.meter.charge_to(Kind::Head);
        let start = self.allocate(loss.bytes());
        if let Edge::Node(node, slot) = loss.edge {
            self.graph.waiting.insert((node, slot), start);
        }
        drop(loss);
        self.run_down_to(0);
        self.meter.charge_to(before);
    }

    /// Puts gradients of an earlier batch in place; later ones are added to them.
    pub(in super::super) fn hold_gradients(&mut self, parameters: &[Parameter]) {
        self.graph.accumulating = true;
        for parameter in parameters {
            let held = self.allocate(parameter.tensor.bytes());
            self.graph.gradients.insert(parameter.id, held);
        }
    }

    /// Gradients of parameters; they keep their memory until the caller lets go.
    pub(in super::super) fn take_gradients(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.graph.gradients)
            .into_values()
            .collect()
    }

    fn run_down_to(&mut self, first: usize) {
        for index in (first..self.graph.nodes.len()).rev() {
            let Some(entry) = self.graph.nodes.get_mut(index).and_then(Option::take) else {
                continue;
            };
            match entry {
                Entry::Operator(node) => self.run_operator(index, node),
                Entry::Checkpoint(rerun) => self.run_checkpoint(index, &rerun),
            }
        }
        self.graph.nodes.truncate(first);
    }

    fn run_operator(&mut self, index: usize, node: Node) {
        let arriving: Vec<Option<Held>> = (0..node.outputs)
            .map(|slot| self.graph.waiting.remove(&(index, slot)))
            .collect();
        let Some(first) = arriving.iter().flatten().next().cloned() else {
            return;
        };
        self.meter.charge_to(node.kind);
        let scratch = self.allocate(node.scratch);
        let mut results: Vec<(Edge, Held, Option<u64>)> = Vec::with_capacity(node.inputs.len());
        for (edge, rule) in &node.inputs {
            match *rule {
                Rule::Pass => results.push((*edge, first.clone(), None)),
                Rule::Fresh {
                    bytes,
                    scratch,
                    reduced,
                } => {
                    let room = self.allocate(scratch);
                    let result = self.allocate(bytes);
                    drop(room);
                    results.push((*edge, result, reduced));
                }
            }
        }
        drop(scratch);
        for (_, result, reduced) in &mut results {
            if let Some(bytes) = *reduced {
                *result = self.allocate(bytes);
            }
        }
        drop((first, arriving));
        drop(node.saved);
        for (edge, result, _) in results {
            self.deliver(edge, result);
        }
    }

    /// Hands a gradient on; a second one for the same place is added to the first.
    fn deliver(&mut self, edge: Edge, gradient: Held) {
        match edge {
            Edge::None => {}
            Edge::Node(node, slot) => {
                let sum = match self.graph.waiting.remove(&(node, slot)) {
                    None => gradient,
                    Some(first) => self.sum(first, gradient),
                };
                self.graph.waiting.insert((node, slot), sum);
            }
            Edge::Leaf(id) => {
                let sum = match self.graph.gradients.remove(&id) {
                    None if gradient.is_sole() => gradient,
                    // A gradient that somebody else still uses cannot be kept as it is.
                    None => self.allocate(gradient.bytes()),
                    Some(first) if self.graph.accumulating => first,
                    Some(first) => self.sum(first, gradient),
                };
                sum.becomes(Kind::Gradients);
                self.graph.gradients.insert(id, sum);
            }
        }
    }

    fn sum(&self, first: Held, second: Held) -> Held {
        let sum = Meter::take(&self.meter, first.bytes().max(second.bytes()));
        drop((first, second));
        sum
    }

    /// Runs the checkpointed part again, now keeping what its derivative needs,
    /// and goes back through it.
    fn run_checkpoint(&mut self, index: usize, rerun: &Rerun) {
        let Some(arriving) = self.graph.waiting.remove(&(index, 0)) else {
            return;
        };
        let (recording, autocast) = (self.recording, self.autocast);
        self.recording = true;
        self.autocast = rerun.autocast;
        // The framework stops the second run as soon as everything is there that
        // the first run would have saved: count first, then stop at that count.
        let wanted = self.count_saves(rerun);
        let start = self.graph.nodes.len();
        let saves_before = self.saves;
        self.meter.charge_to(Kind::Activations);
        self.halt_after_saves = Some(saves_before + wanted);
        let output = (rerun.body)(self, &rerun.input);
        self.halt_after_saves = None;
        self.saves = saves_before;
        if self.autocast {
            self.cast_copies.clear();
        }
        self.recording = recording;
        self.autocast = autocast;
        if let Edge::Node(node, slot) = output.edge {
            self.graph.waiting.insert((node, slot), arriving);
        }
        drop(output);
        self.run_down_to(start);
    }

    fn count_saves(&mut self, rerun: &Rerun) -> u64 {
        let meter = std::mem::take(&mut self.meter);
        let copies = std::mem::take(&mut self.cast_copies);
        let start = self.graph.nodes.len();
        let before = self.saves;
        let output = (rerun.body)(self, &rerun.input);
        drop(output);
        let wanted = self.saves - before;
        self.saves = before;
        self.graph.nodes.truncate(start);
        self.cast_copies = copies;
        self.meter = meter;
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dtype, Kind, Matrix, Recording, Tape, Trained};

    /// One linear layer without bias and a sum as loss: the numbers can be checked
    /// by hand.
    #[test]
    fn one_linear_layer_takes_what_it_takes_by_hand() {
        let mut tape = Tape::new(Recording::On);
        tape.meter.charge_to(Kind::Weights);
        let weight = tape.parameter(6, Dtype::Float, Trained::Yes);
        let matrix = Matrix {
            weight,
            bias: None,
            inputs: 2,
            outputs: 3,
            expanded: None,
        };
        tape.meter.charge_to(Kind::Activations);
        let x = tape.constant(4 * 2, Dtype::Float);
        let y = tape.linear(&x, &matrix);
        // Weight 24, input 32, result 48.
        assert_eq!(tape.meter.live(), 24 + 32 + 48);
        drop(x);
        // The layer keeps its input for the gradient of the weight.
        assert_eq!(tape.meter.live(), 24 + 32 + 48);
        let loss = tape.mean(&y, 12);
        drop(y);
        // A mean needs nothing of its input.
        assert_eq!(tape.meter.live(), 24 + 32 + 4);
        tape.meter.take_peak();
        tape.backward(loss);
        // At the peak: weight, input, gradient of the result, gradient of the weight.
        assert_eq!(tape.meter.take_peak().total(), 24 + 32 + 48 + 24);
        let gradients = tape.take_gradients();
        assert_eq!(gradients.len(), 1);
        assert_eq!(tape.meter.live(), 24 + 24);
        drop(gradients);
        drop(matrix);
        assert_eq!(tape.meter.live(), 0);
    }

    #[test]
    fn a_frozen_layer_keeps_no_input() {
        let mut tape = Tape::new(Recording::On);
        let weight = tape.parameter(6, Dtype::Half, Trained::No);
        let matrix = Matrix {
            weight,
            bias: None,
            inputs: 2,
            outputs: 3,
            expanded: None,
        };
        let x = tape.constant(8, Dtype::Half);
        let y = tape.linear(&x, &matrix);
        drop(x);
        assert_eq!(tape.meter.live(), 12 + 24);
        assert!(!y.needs_gradient());
    }
}
