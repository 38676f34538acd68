//! Layouts are loaded, counted and warmed up.

use super::{
    child::MeasuringChild,
    journal::Entry,
    measurement::{Measurement, Progress},
    point::Point,
    protocol::{Answer, LoadRequest, Request},
    sweep::{batch_sizes, layouts},
};
use crate::{
    error::{Error, Result},
    measure::{probe::power::Drawn, runtime::cores::cores_of_instances},
    profile::calibration::{Device, NodePlacement, Row, SessionLayout, Start},
    units::{Bytes, Time},
};
use std::sync::atomic::{AtomicBool, Ordering};

/// Seconds after which there should be something to look at, if there is anything.
const FIRST_LOOK_AFTER: f64 = 6.0;

/// What a batch size took when it was first run.
struct Warmed {
    first: Time,
    steady: Time,
    peak: Option<Bytes>,
}

impl Measurement<'_> {
    /// Loads all layouts, each warmed up with single items and visited once.
    pub(super) fn start_layouts(&mut self, stop: &AtomicBool, observe: &mut dyn FnMut(Progress)) {
        let wanted = if self.options.layouts.is_empty() {
            layouts(self.subject.device, self.subject.machine.usable_threads())
        } else {
            self.options.layouts.clone()
        };
        for (i, &layout) in wanted.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                self.leave_out(layout, None, "interrupted");
                continue;
            }
            observe(Progress::Starting {
                layout,
                number: (i + 1, wanted.len()),
            });
            if let Some(why) = self.too_much_memory(layout) {
                self.leave_out(layout, None, &why);
                continue;
            }
            let before = self.points.len();
            if let Err(error) = self.start_layout(layout) {
                self.leave_out(layout, None, error.message());
                continue;
            }
            self.visit(before);
            if self.elapsed().get() > FIRST_LOOK_AFTER {
                self.show_first(observe);
            }
        }
    }

    /// The children all stay loaded while the rounds go on; on a small machine
    /// with a large model that must not push anybody out of memory.
    fn too_much_memory(&self, layout: SessionLayout) -> Option<String> {
        let room = self.room()?;
        let in_use: Bytes = self
            .children
            .iter()
            .flatten()
            .filter_map(MeasuringChild::memory)
            .sum();
        // Packed weights are a second copy; half as much again for activations.
        let needed = self.subject.facts.weight_bytes.scaled(2.5) * u64::from(layout.instances);
        (in_use + needed > room).then(|| {
            format!("needs about {needed} beside the {in_use} in use, of {room} that may be taken")
        })
    }

    fn start_layout(&mut self, layout: SessionLayout) -> Result<()> {
        let index = self.children.len();
        let patience = Time::saturating(120.0 + 10.0 * f64::from(layout.instances));
        let limits = self.limits(index, patience);
        let used = self.watch.used();
        let mut child = MeasuringChild::start(self.launcher)?;
        let load = Request::Load(Box::new(LoadRequest {
            library: self.subject.library.path.clone(),
            model: self.subject.model.to_owned(),
            device: self.subject.device.clone(),
            layout,
            cores: cores_of_instances(
                self.subject.device,
                layout,
                self.subject.machine.usable_threads(),
            ),
            inputs: self.subject.inputs.to_vec(),
        }));
        let Answer::Loaded { load, memory_bytes } = child.ask(&load, limits)? else {
            return Err(out_of_step());
        };
        let nodes = match self.subject.device {
            Device::Cpu => Vec::new(),
            Device::Cuda { .. } => match child.ask(&Request::CountNodes, limits)? {
                Answer::Counted { nodes } => nodes,
                _ => return Err(out_of_step()),
            },
        };
        self.check_placement(&nodes)?;
        // Nobody else takes device memory while a layout starts.
        let on_device = self
            .watch
            .used()
            .zip(used)
            .map(|(now, before)| now - before);
        self.on_device.insert(index, on_device.unwrap_or_default());
        let memory_bytes = on_device.or(memory_bytes);
        self.children.push(Some(child));
        let smallest = self.smallest_batch();
        let warmed = match self.warm(index, smallest, patience) {
            Ok(warmed) => warmed,
            Err(error) => {
                if let Some(slot) = self.children.get_mut(index) {
                    *slot = None;
                }
                return Err(error);
            }
        };
        let start = Start {
            layout,
            load,
            first_inference: warmed.first,
            loaded_memory_bytes: memory_bytes,
            nodes,
        };
        self.note(&Entry::Started {
            start: start.clone(),
        });
        self.starts.retain(|other| other.layout != layout);
        self.starts.push(start);
        self.push_point(index, layout, smallest, &warmed);
        self.measure_copies(index, smallest, patience);
        Ok(())
    }

    /// A GPU on which no node runs measures the CPU.
    fn check_placement(&self, nodes: &[NodePlacement]) -> Result<()> {
        let wanted = self.subject.device.execution_provider();
        if nodes.is_empty() || nodes.iter().any(|n| n.provider == wanted && n.nodes > 0) {
            return Ok(());
        }
        let total: u32 = nodes.iter().map(|n| n.nodes).sum();
        Err(Error::machine(format!(
            "none of its {total} nodes ran on {}: ONNX Runtime has no CUDA kernel for them",
            self.subject.device
        )))
    }

    /// The batch size to begin with: single items, unless others were asked for
    /// (a model may take batches of one size only).
    pub(super) fn smallest_batch(&self) -> u32 {
        self.options.batch_sizes.iter().copied().min().unwrap_or(1)
    }

    /// Warms the larger batch sizes up, the smaller ones of all layouts first.
    pub(super) fn warm_larger(&mut self, stop: &AtomicBool) {
        let largest = self
            .subject
            .facts
            .max_batch
            .unwrap_or(u32::MAX)
            .min(self.options.max_batch);
        let sizes = if self.options.batch_sizes.is_empty() {
            batch_sizes(largest)
        } else {
            self.options.batch_sizes.clone()
        };
        // The last size that each child has run, and how long that took.
        let mut last: Vec<Option<(SessionLayout, u32, Time)>> = vec![None; self.children.len()];
        for point in &self.points {
            if let Some(slot) = last.get_mut(point.child) {
                *slot = Some((point.row.layout, point.row.batch_size, point.expected));
            }
        }
        let smallest = self.smallest_batch();
        for size in sizes.into_iter().filter(|size| *size > smallest) {
            for (index, slot) in last.iter_mut().enumerate() {
                let Some((layout, last_size, took)) = *slot else {
                    continue;
                };
                match self.warm_one(index, (layout, size), (last_size, took), stop) {
                    Ok(Some(steady)) => *slot = Some((layout, size, steady)),
                    Ok(None) => {}
                    Err(why) => {
                        self.leave_out(layout, Some(size), &why);
                        *slot = None;
                    }
                }
            }
        }
    }

    /// Warms one batch size of one layout up; the error says why no larger one
    /// need be tried.
    fn warm_one(
        &mut self,
        index: usize,
        (layout, size): (SessionLayout, u32),
        (last_size, took): (u32, Time),
        stop: &AtomicBool,
    ) -> std::result::Result<Option<Time>, String> {
        if stop.load(Ordering::Relaxed) {
            return Err("interrupted".to_owned());
        }
        if self.subject.facts.max_batch.is_some_and(|most| size > most) {
            return Err("the model takes no larger batch".to_owned());
        }
        let expected = took.scaled(f64::from(size) / f64::from(last_size));
        if expected > self.options.longest_inference {
            let why = format!(
                "one inference would take about {expected}, longer than {}",
                self.options.longest_inference
            );
            return Err(why);
        }
        let warmed = self
            .warm(index, size, patience(expected))
            .map_err(|error| error.message().to_owned())?;
        self.push_point(index, layout, size, &warmed);
        self.measure_copies(index, size, patience(expected));
        Ok(Some(warmed.steady))
    }

    fn push_point(
        &mut self,
        child: usize,
        layout: SessionLayout,
        batch_size: u32,
        warmed: &Warmed,
    ) {
        let mut row = self
            .recovered
            .remove(&(layout, batch_size))
            .unwrap_or_else(|| Row::new(layout, batch_size));
        row.peak_memory_bytes = warmed.peak.or(row.peak_memory_bytes);
        self.points.push(Point {
            child,
            expected: warmed.steady,
            failed: false,
            visits: 0,
            drawn: Drawn::default(),
            row,
        });
    }

    fn warm(&mut self, index: usize, batch_size: u32, patience: Time) -> Result<Warmed> {
        let limits = self.limits(index, patience);
        let used = self.watch.used();
        let Some(Some(child)) = self.children.get_mut(index) else {
            return Err(Error::machine("its process has ended"));
        };
        let answer = child.ask(&Request::Warm { batch_size }, limits)?;
        let grown = self
            .watch
            .used()
            .zip(used)
            .map(|(now, before)| now - before);
        let on_device = grown.map(|grown| {
            let taken = self.on_device.entry(index).or_default();
            *taken = *taken + grown;
            *taken
        });
        match answer {
            Answer::Warmed {
                first,
                steady,
                peak_memory_bytes,
                inference_cpu,
            } => {
                self.accounts.inference = self.accounts.inference + inference_cpu;
                Ok(Warmed {
                    first,
                    steady,
                    peak: on_device.or(peak_memory_bytes),
                })
            }
            _ => Err(out_of_step()),
        }
    }
}

/// A machine may be slow and disturbed; a hundred times slower is a hang.
pub(super) fn patience(expected: Time) -> Time {
    Time::saturating(30.0) + expected.scaled(100.0)
}

fn out_of_step() -> Error {
    Error::machine("the measuring process answered another question")
}
