//! The graph as ONNX Runtime executes it: nodes that it fuses become one step,
//! so that what lies between them is never stored.
//!
//! The fusions are those of `onnxruntime/core/optimizer` at its default level
//! that decide memory: attention, layer normalisation with the additions before
//! it, GELU with its bias, and whatever follows a convolution or a matrix
//! product element by element.

use crate::model::{Model, Trace, proto::NodeProto};
use std::collections::{BTreeMap, BTreeSet};

/// A fused step.
#[derive(Debug)]
pub(super) struct Step<'g> {
    /// The nodes in it, in order.
    pub(super) nodes: Vec<&'g NodeProto>,
    /// Scratch memory beside its results.
    pub(super) scratch: Vec<u64>,
    /// Whether its result may take the place of an input that ends here.
    pub(super) in_place: bool,
}

struct Fuser<'g> {
    nodes: &'g [NodeProto],
    model: &'g Model,
    trace: &'g Trace,
    constant: &'g BTreeSet<&'g str>,
    makers: BTreeMap<&'g str, usize>,
    users: BTreeMap<&'g str, Vec<usize>>,
    group: Vec<usize>,
    scratch: BTreeMap<usize, Vec<u64>>,
}

/// The steps of `model`, in execution order. `constant` are the weights and what
/// is computed of them alone.
pub(super) fn steps<'g>(
    model: &'g Model,
    trace: &'g Trace,
    constant: &'g BTreeSet<&'g str>,
) -> Vec<Step<'g>> {
    let nodes = &model.graph.nodes;
    let mut makers = BTreeMap::new();
    let mut users: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            makers.insert(name.as_str(), index);
        }
        for name in node.input.iter().filter(|n| !n.is_empty()) {
            users.entry(name).or_default().push(index);
        }
    }
    let mut fuser = Fuser {
        nodes,
        model,
        trace,
        constant,
        makers,
        users,
        group: (0..nodes.len()).collect(),
        scratch: BTreeMap::new(),
    };
    for index in 0..nodes.len() {
        match fuser.op(index) {
            "Softmax" => fuser.attention(index),
            "ReduceMean" => fuser.layer_norm(index),
            "Erf" => fuser.gelu(index),
            "Conv" | "Gemm" => fuser.followers(index),
            _ => {}
        }
    }
    fuser.collect()
}

impl<'g> Fuser<'g> {
    fn op(&self, index: usize) -> &'g str {
        self.nodes.get(index).map_or("", NodeProto::op)
    }

    fn inputs(&self, index: usize) -> impl Iterator<Item = &'g str> + use<'g> {
        self.nodes
            .get(index)
            .into_iter()
            .flat_map(|n| &n.input)
            .map(String::as_str)
    }

    fn output(&self, index: usize) -> &'g str {
        self.nodes
            .get(index)
            .and_then(|n| n.output.first())
            .map_or("", String::as_str)
    }

    fn is_constant(&self, name: &str) -> bool {
        name.is_empty() || self.constant.contains(name)
    }

    /// Adds a vector that is a weight.
    fn is_biased(&self, index: usize) -> bool {
        self.op(index) == "Add"
            && self.inputs(index).any(|i| {
                let weight = self.model.graph.weights.get(i);
                weight.is_some_and(|weight| weight.dims.len() == 1)
            })
    }

    fn bytes(&self, name: &str) -> u64 {
        self.trace.tensors.get(name).map_or(0, |t| t.bytes().get())
    }

    /// The one node that reads the result of `index`.
    fn only_user(&self, index: usize) -> Option<usize> {
        match self.users.get(self.output(index)).map(Vec::as_slice) {
            Some([one]) => Some(*one),
            _ => None,
        }
    }

    fn join(&mut self, members: &BTreeSet<usize>) {
        let Some(&last) = members.last() else { return };
        let old: BTreeSet<usize> = members
            .iter()
            .filter_map(|m| self.group.get(*m).copied())
            .collect();
        let mut scratch = Vec::new();
        for group in &old {
            scratch.extend(self.scratch.remove(group).unwrap_or_default());
        }
        for group in &mut self.group {
            if old.contains(group) {
                *group = last;
            }
        }
        if !scratch.is_empty() {
            self.scratch.insert(last, scratch);
        }
    }

    fn add_scratch(&mut self, member: usize, sizes: &[u64]) {
        if let Some(group) = self.group.get(member) {
            self.scratch.entry(*group).or_default().extend(sizes);
        }
    }

    /// From the softmax back to the products with weights that make queries,
    /// keys and values, and forward to where the heads are put side by side.
    fn attention(&mut self, softmax: usize) {
        let Some(mix) = self.only_user(softmax).filter(|n| self.op(*n) == "MatMul") else {
            return;
        };
        let mut members = BTreeSet::from([softmax, mix]);
        let mut projected = 0;
        let mut scores = 0;
        let mut open: Vec<&str> = self.inputs(softmax).chain(self.inputs(mix)).collect();
        while let Some(name) = open.pop() {
            let Some(&maker) = self.makers.get(name) else {
                continue;
            };
            if members.contains(&maker) {
                continue;
            }
            let product = matches!(self.op(maker), "MatMul" | "Gemm");
            let with_weight = product && self.inputs(maker).any(|i| self.is_constant(i));
            // The mask is made outside, once for all layers.
            let shared = self.users.get(name).is_some_and(|u| u.len() > 1);
            if shared || !(product || self.moves_or_adds(maker)) {
                continue;
            }
            members.insert(maker);
            if with_weight {
                projected += self.bytes(name);
            } else {
                if product {
                    scores = scores.max(self.bytes(name));
                }
                open.extend(self.inputs(maker));
            }
        }
        if projected == 0 || scores == 0 {
            return;
        }
        let mut last = mix;
        while let Some(next) = self
            .only_user(last)
            .filter(|n| matches!(self.op(*n), "Transpose" | "Reshape"))
        {
            members.insert(next);
            last = next;
        }
        self.join(&members);
        // Queries, keys and values; the scores of all heads; and the values
        // mixed, before the heads are put side by side.
        let mixed = self.bytes(self.output(mix));
        self.add_scratch(last, &[projected, scores, mixed]);
    }

    fn moves_or_adds(&self, index: usize) -> bool {
        matches!(
            self.op(index),
            "Add" | "Div" | "Mul" | "Reshape" | "Transpose" | "Split" | "Unsqueeze" | "Squeeze"
        )
    }

    /// Everything that depends on `from` alone until it has its scale and bias,
    /// with the additions that make `from`.
    fn layer_norm(&mut self, mean: usize) {
        let Some(from) = self.inputs(mean).next() else {
            return;
        };
        if !self
            .users
            .get(self.output(mean))
            .is_some_and(|u| u.iter().all(|n| self.op(*n) == "Sub"))
        {
            return;
        }
        let mut derived: BTreeSet<&str> = BTreeSet::from([from]);
        let mut members = BTreeSet::new();
        let mut divided = false;
        let mut end = None;
        for index in mean..self.nodes.len().min(mean + 16) {
            let known = self
                .inputs(index)
                .all(|i| derived.contains(i) || self.is_constant(i));
            let fresh = self.inputs(index).any(|i| derived.contains(i));
            let of_kind = matches!(
                self.op(index),
                "ReduceMean" | "Sub" | "Pow" | "Add" | "Sqrt" | "Div" | "Mul"
            );
            if !(known && fresh && of_kind) {
                continue;
            }
            members.insert(index);
            derived.insert(self.output(index));
            divided |= self.op(index) == "Div";
            if divided && self.op(index) == "Add" {
                end = Some(index);
                break;
            }
        }
        if end.is_none() {
            return;
        }
        // A residual sum goes with it, and the bias of the product before that.
        let sum = self
            .makers
            .get(from)
            .copied()
            .filter(|n| self.op(*n) == "Add" && !self.inputs(*n).any(|i| self.is_constant(i)))
            .filter(|n| self.users.get(self.output(*n)).map_or(0, Vec::len) <= 2);
        if let Some(sum) = sum {
            members.insert(sum);
            let biased = self
                .inputs(sum)
                .filter_map(|i| self.makers.get(i).copied())
                .find(|n| self.is_biased(*n) && self.only_user(*n).is_some());
            members.extend(biased);
        }
        self.join(&members);
    }

    /// `x/√2 → erf → +1 → ·x → ·½`, with the bias added to `x` before.
    fn gelu(&mut self, erf: usize) {
        let Some(&scaled) = self.inputs(erf).next().and_then(|i| self.makers.get(i)) else {
            return;
        };
        let mut members = BTreeSet::from([scaled, erf]);
        let mut last = erf;
        while let Some(next) = self
            .only_user(last)
            .filter(|n| matches!(self.op(*n), "Add" | "Mul") && members.len() < 5)
        {
            members.insert(next);
            last = next;
        }
        let biased = self
            .inputs(scaled)
            .filter_map(|i| self.makers.get(i).copied())
            .find(|n| self.is_biased(*n));
        members.extend(biased);
        let size = self.bytes(self.output(last));
        self.join(&members);
        // The error function is taken in a buffer of its own.
        self.add_scratch(last, &[size]);
    }

    /// What follows a convolution or product, element by element.
    fn followers(&mut self, first: usize) {
        let mut members = BTreeSet::from([first]);
        let mut last = first;
        while let Some(next) = self.only_user(last) {
            let fits = match self.op(next) {
                "BatchNormalization" => self.op(first) == "Conv",
                "Add" => {
                    // A sum belongs to the convolution that comes last before it.
                    self.op(first) == "Conv"
                        && self.inputs(next).all(|i| {
                            i == self.output(last)
                                || self.makers.get(i).is_none_or(|maker| *maker < first)
                        })
                }
                "Relu" | "Clip" | "LeakyRelu" | "Sigmoid" | "Tanh" | "HardSigmoid" => true,
                _ => false,
            };
            if !fits {
                break;
            }
            members.insert(next);
            last = next;
        }
        self.join(&members);
    }

    fn collect(self) -> Vec<Step<'g>> {
        let mut steps: BTreeMap<usize, Vec<&NodeProto>> = BTreeMap::new();
        for (node, group) in self.nodes.iter().zip(&self.group) {
            steps.entry(*group).or_default().push(node);
        }
        let mut scratch = self.scratch;
        steps
            .into_iter()
            .map(|(group, nodes)| Step {
                scratch: scratch.remove(&group).unwrap_or_default(),
                in_place: in_place(&nodes),
                nodes,
            })
            .collect()
    }
}

/// Kernels registered with `MayInplace`: element by element on one input. Those of
/// two inputs (`REG_ELEMENTWISE_TYPED_KERNEL` in
/// `onnxruntime/core/providers/cpu/math/element_wise_ops.cc`) are not; a
/// convolution adds into its summand.
fn in_place(nodes: &[&NodeProto]) -> bool {
    let has = |op: &str| nodes.iter().any(|n| n.op() == op);
    if has("Conv") {
        return has("Add");
    }
    nodes.len() == 1
        && nodes.iter().all(|n| {
            matches!(
                n.op(),
                "Relu" | "Clip" | "Tanh" | "Sigmoid" | "Erf" | "Sqrt" | "Exp" | "Neg" | "Abs"
            )
        })
}
