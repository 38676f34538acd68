//! What a measurement says a server should be set to.

use super::calibration::{Calibration, Device, Row, SessionLayout};
use crate::units::Rate;
use serde::Serialize;
use std::fmt;

/// A smaller batch is preferred to a larger one that carries less than this
/// much more.
const WORTH_A_LARGER_BATCH: f64 = 1.03;

/// What a server is set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The shortest service time of single items.
    Latency,
    /// The most items per second.
    Throughput,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latency => "lowest latency",
            Self::Throughput => "most throughput",
        })
    }
}

/// Settings that the measurement favours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerSettings {
    /// For what.
    pub purpose: Purpose,
    /// The layout.
    pub layout: SessionLayout,
    /// The batch size.
    pub batch_size: u32,
    /// Items per second with all instances busy.
    pub rate: Rate,
    /// What to set, and to what.
    pub set: Vec<Setting>,
}

/// One thing to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name, as the server or runtime has it.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The settings for both purposes; none for a calibration without rows. Where
/// one setup is best for both, it is given once, for latency.
#[must_use]
pub fn server_settings(calibration: &Calibration) -> Vec<ServerSettings> {
    let kept = || {
        calibration
            .rows
            .iter()
            .filter(|row| row.dropped_for.is_none())
    };
    let fastest = kept()
        .filter(|row| row.batch_size == 1 && mean(row) > 0.0)
        .min_by(|a, b| mean(a).total_cmp(&mean(b)));
    let best = kept().map(rate).fold(0.0, f64::max);
    let fullest = kept()
        .filter(|row| rate(row) * WORTH_A_LARGER_BATCH >= best && best > 0.0)
        .min_by_key(|row| (row.batch_size, row.layout.instances));
    let mut all = Vec::new();
    for (purpose, row) in [(Purpose::Latency, fastest), (Purpose::Throughput, fullest)] {
        let Some(row) = row else { continue };
        let settings = settings(calibration, purpose, row);
        if !all.iter().any(|other: &ServerSettings| {
            (other.layout, other.batch_size) == (settings.layout, settings.batch_size)
        }) {
            all.push(settings);
        }
    }
    all
}

fn mean(row: &Row) -> f64 {
    let total: f64 = row.rounds.iter().map(|round| round.mean.get()).sum();
    total / row.rounds.len().max(1) as f64
}

fn rate(row: &Row) -> f64 {
    let mean = mean(row);
    if mean > 0.0 {
        f64::from(row.batch_size) * f64::from(row.layout.instances) / mean
    } else {
        0.0
    }
}

fn settings(calibration: &Calibration, purpose: Purpose, row: &Row) -> ServerSettings {
    let layout = row.layout;
    let threads = layout.intra_op_threads;
    let mut set = Vec::new();
    let mut add = |name: &str, value: String| {
        set.push(Setting {
            name: name.to_owned(),
            value,
        });
    };
    add(
        "instances (Triton instance_group count, MLServer parallel_workers)",
        layout.instances.to_string(),
    );
    add("max batch size", row.batch_size.to_string());
    if calibration.device == Device::Cpu {
        add("intra_op_num_threads", threads.to_string());
        add("inter_op_num_threads", "1".to_owned());
        add(
            "session.intra_op.allow_spinning",
            u8::from(layout.spinning).to_string(),
        );
        // Only other libraries in the process, and builds of the runtime with
        // OpenMP, look at it; by default each of them takes all processors.
        add("OMP_NUM_THREADS", threads.to_string());
        if layout.instances > 1 {
            add("affinity", affinity(calibration, layout));
        }
    }
    ServerSettings {
        purpose,
        layout,
        batch_size: row.batch_size,
        rate: Rate::saturating(rate(row)),
        set,
    }
}

/// One set of processors per instance, so that they do not push each other about.
fn affinity(calibration: &Calibration, layout: SessionLayout) -> String {
    let threads = layout.intra_op_threads;
    if calibration.machine.limits.cpuset_cores.is_some()
        || layout.instances * threads > calibration.machine.cpu.logical_cores
        || layout.instances > 8
    {
        return format!("{threads} processors of its own for each instance (`taskset -c`)");
    }
    let sets: Vec<String> = (0..layout.instances)
        .map(|i| {
            let (first, last) = (i * threads, (i + 1) * threads - 1);
            if first == last {
                format!("`taskset -c {first}`")
            } else {
                format!("`taskset -c {first}-{last}`")
            }
        })
        .collect();
    format!(
        "one process per instance, each with its own: {}",
        sets.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::calibration::example;

    #[test]
    fn latency_and_throughput_get_their_own_settings() {
        let calibration = example(&[
            ((1, 1), 1, 0.010),
            ((1, 2), 1, 0.006),
            ((2, 1), 1, 0.011),
            ((2, 1), 4, 0.040),
        ]);
        let all = server_settings(&calibration);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].layout.intra_op_threads, all[0].batch_size), (2, 1));
        // 2 × 4 / 40 ms = 200 a second against 2 / 11 ms = 182.
        assert_eq!((all[1].layout.instances, all[1].batch_size), (2, 4));
        let affinity = all[1].set.iter().find(|s| s.name == "affinity").unwrap();
        assert!(affinity.value.contains("`taskset -c 0`, `taskset -c 1`"));
    }

    #[test]
    fn a_larger_batch_must_be_worth_it_and_one_setup_is_told_once() {
        let calibration = example(&[((1, 1), 1, 0.010), ((1, 1), 8, 0.079)]);
        let all = server_settings(&calibration);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].batch_size, 1);
        assert!(server_settings(&example(&[])).is_empty());
    }
}
