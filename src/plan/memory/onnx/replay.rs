//! One batch run twice: which tensors live when, and what the arena holds then.

use super::arena::{Arena, Pattern, Place};
use super::fuse::{Step, steps};
use crate::model::{Model, Trace, WorkKind};
use std::collections::{BTreeMap, BTreeSet};

/// What two runs of a batch need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replay {
    /// The most bytes of tensors and scratch memory at one moment.
    pub(super) live_peak: u64,
    /// Pages of the arena that were written.
    pub(super) resident: u64,
    /// Address space of the arena.
    pub(super) reserved: u64,
    /// The block that later runs lay their tensors out in.
    pub(super) block: u64,
}

/// A tensor's memory, shared by its views.
#[derive(Debug)]
struct Storage {
    bytes: u64,
    last_use: usize,
    is_output: bool,
}

struct Plan {
    storages: Vec<Storage>,
    /// For each step: storages that it makes, and scratch memory.
    made: Vec<(Vec<usize>, Vec<u64>)>,
    /// For each step: storages that end with it.
    ended: Vec<Vec<usize>>,
}

/// Replays the graph.
pub(super) fn replay(model: &Model, trace: &Trace) -> Replay {
    let plan = plan(model, trace);
    let mut arena = Arena::new();
    let mut pattern = Pattern::default();
    let live_peak = first_run(&plan, &mut arena, &mut pattern);
    later_run(&plan, &mut arena, pattern.size());
    Replay {
        live_peak,
        resident: arena.resident(),
        reserved: arena.reserved(),
        block: pattern.size(),
    }
}

/// Results that depend on weights alone are computed while loading.
fn folded<'m>(model: &'m Model) -> BTreeSet<&'m str> {
    let mut constant: BTreeSet<&'m str> = model.graph.weights.keys().map(String::as_str).collect();
    for node in &model.graph.nodes {
        if !node.input.is_empty()
            && node
                .input
                .iter()
                .all(|i| i.is_empty() || constant.contains(i.as_str()))
        {
            constant.extend(node.output.iter().map(String::as_str));
        }
    }
    constant
}

/// The steps in the order in which the runtime executes them: depth first from
/// the outputs back, each step after what it reads, its first input first
/// (`Graph::ReverseDFSFrom`; with several inputs the runtime goes by indices that
/// its fusions hand out, which this comes near). Which tensors lie side by side
/// in the planned block depends on it.
fn executed<'m>(model: &'m Model, steps: Vec<Step<'m>>) -> Vec<Step<'m>> {
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        for name in step.nodes.iter().flat_map(|n| &n.output) {
            makers.insert(name, index);
        }
    }
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    let outputs = model.graph.outputs.iter().rev();
    let mut open: Vec<(usize, bool)> = outputs
        .filter_map(|port| Some((*makers.get(port.name.as_str())?, false)))
        .collect();
    while let Some((index, entered)) = open.pop() {
        if entered {
            order.push(index);
        } else if seen.insert(index) {
            open.push((index, true));
            let inputs = steps.get(index).into_iter().flat_map(|s| &s.nodes);
            let before: Vec<usize> = inputs
                .flat_map(|n| &n.input)
                .filter_map(|name| makers.get(name.as_str()).copied())
                .collect();
            open.extend(before.into_iter().rev().map(|i| (i, false)));
        }
    }
    let mut steps: Vec<Option<Step<'m>>> = steps.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|index| steps.get_mut(index)?.take())
        .collect()
}

/// Which steps read each result.
fn readers<'m>(steps: &[Step<'m>]) -> BTreeMap<&'m str, BTreeSet<usize>> {
    let mut readers: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        for name in step.nodes.iter().flat_map(|n| &n.input) {
            readers.entry(name).or_default().insert(index);
        }
    }
    readers
}

fn plan(model: &Model, trace: &Trace) -> Plan {
    let constant = folded(model);
    let steps = executed(model, steps(model, trace, &constant));
    let readers = readers(&steps);
    let outputs: BTreeSet<&str> = model
        .graph
        .outputs
        .iter()
        .map(|p| p.name.as_str())
        .collect();
    let views = views(model, trace);
    let mut of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut plan = Plan {
        storages: Vec::new(),
        made: Vec::new(),
        ended: Vec::new(),
    };
    // Inputs are the caller's: their views take nothing here.
    for port in &model.graph.inputs {
        of.insert(port.name.as_str(), plan.storages.len());
        plan.storages.push(Storage {
            bytes: 0,
            last_use: 0,
            is_output: true,
        });
    }
    for (index, step) in steps.iter().enumerate() {
        let mut made = Vec::new();
        for node in &step.nodes {
            for (place, name) in node.output.iter().enumerate() {
                let used_by = readers.get(name.as_str());
                let last_use = used_by.and_then(|u| u.last()).copied().unwrap_or(index);
                let is_output = outputs.contains(name.as_str());
                let outside = is_output || used_by.is_some_and(|u| u.iter().any(|s| *s != index));
                if name.is_empty() || constant.contains(name.as_str()) || !outside {
                    continue;
                }
                let bytes = trace.tensors.get(name).map_or(0, |t| t.bytes().get());
                let shared = if place == 0 && views.contains(name.as_str()) {
                    node.input.first().and_then(|i| of.get(i.as_str())).copied()
                } else if step.in_place {
                    step.nodes
                        .iter()
                        .flat_map(|n| &n.input)
                        .filter_map(|i| of.get(i.as_str()).copied())
                        .find(|s| {
                            plan.storages.get(*s).is_some_and(|s| {
                                s.bytes == bytes && s.last_use == index && !s.is_output
                            })
                        })
                } else {
                    None
                };
                let storage = shared.unwrap_or_else(|| {
                    plan.storages.push(Storage {
                        bytes,
                        last_use,
                        is_output,
                    });
                    made.push(plan.storages.len() - 1);
                    plan.storages.len() - 1
                });
                if let Some(storage) = plan.storages.get_mut(storage) {
                    storage.last_use = storage.last_use.max(last_use);
                    storage.is_output |= is_output;
                }
                of.insert(name, storage);
            }
        }
        plan.made.push((made, step.scratch.clone()));
    }
    plan.ended = vec![Vec::new(); steps.len()];
    for (index, storage) in plan.storages.iter().enumerate() {
        if !storage.is_output
            && let Some(ended) = plan.ended.get_mut(storage.last_use)
        {
            ended.push(index);
        }
    }
    plan
}

/// Results that are the bytes of an input under another shape.
fn views<'m>(model: &'m Model, trace: &Trace) -> BTreeSet<&'m str> {
    model
        .graph
        .nodes
        .iter()
        .zip(&trace.nodes)
        .filter(|(_, work)| work.kind == WorkKind::View)
        .filter_map(|(node, _)| node.output.first().map(String::as_str))
        .collect()
}

/// Every tensor from the arena; meanwhile the runtime lays out the block for later.
fn first_run(plan: &Plan, arena: &mut Arena, pattern: &mut Pattern) -> u64 {
    let mut places: BTreeMap<usize, Place> = BTreeMap::new();
    let mut live = 0_u64;
    let mut peak = 0;
    for ((made, scratch), ended) in plan.made.iter().zip(&plan.ended) {
        for key in made {
            let Some(storage) = plan.storages.get(*key) else {
                continue;
            };
            places.insert(*key, arena.take(storage.bytes));
            live = live.saturating_add(storage.bytes);
            if !storage.is_output {
                pattern.place(*key, storage.bytes);
            }
        }
        peak = peak.max(work(arena, scratch).saturating_add(live));
        for key in ended {
            if let (Some(storage), Some(place)) = (plan.storages.get(*key), places.remove(key)) {
                arena.give_back(place);
                live = live.saturating_sub(storage.bytes);
                pattern.remove(*key);
            }
        }
    }
    for place in places.into_values() {
        arena.give_back(place);
    }
    peak
}

/// The block first, then results and scratch memory from the arena.
fn later_run(plan: &Plan, arena: &mut Arena, block: u64) {
    let mut places = Vec::new();
    if block > 0 {
        places.push(arena.take(block));
    }
    for (made, scratch) in &plan.made {
        for storage in made.iter().filter_map(|key| plan.storages.get(*key)) {
            if storage.is_output {
                places.push(arena.take(storage.bytes));
            }
        }
        work(arena, scratch);
    }
    for place in places {
        arena.give_back(place);
    }
}

/// Takes scratch memory, gives it back and returns how much it was.
fn work(arena: &mut Arena, scratch: &[u64]) -> u64 {
    let places: Vec<Place> = scratch.iter().map(|bytes| arena.take(*bytes)).collect();
    for place in places {
        arena.give_back(place);
    }
    scratch
        .iter()
        .fold(0, |sum, bytes| sum.saturating_add(*bytes))
}
