//! How busy and how disturbed this machine was over a span of time.
//!
//! A [`LoadSnapshot`] is taken before a measurement and another after it;
//! [`between`] says what happened in the meantime. All of it comes from counters
//! that the kernel keeps, so nothing runs while the measurement does.

mod processor_time;
mod sensors;
mod throttle;

use crate::caveat::{Caveat, CaveatKind};
use crate::measure::probe::cgroup::Hierarchies;
use crate::measure::probe::tree::Tree;
use crate::profile::machine::Reading;
use crate::units::{Fraction, Time};
use processor_time::ProcessorTime;
use serde::{Deserialize, Serialize};
use throttle::Throttle;

/// The kernel's counters at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadSnapshot {
    processor_time: Reading<ProcessorTime>,
    own_ticks: Reading<u64>,
    throttle: Reading<Vec<Throttle>>,
    load_average: Reading<f64>,
    clock_mhz: Reading<f64>,
    temperature_celsius: Reading<f64>,
    thermal_events: Reading<u64>,
}

impl LoadSnapshot {
    /// Reads the counters of this machine, now.
    ///
    /// Looks at every process once: some milliseconds on a machine with
    /// thousands of them.
    #[must_use]
    pub fn take() -> Self {
        Self::read(&Tree::of_this_machine())
    }

    /// Reads the counters that `tree` shows.
    #[must_use]
    pub fn read(tree: &Tree) -> Self {
        Self {
            processor_time: file(tree, "/proc/stat", processor_time::parse),
            own_ticks: processor_time::own_ticks(tree),
            throttle: match Hierarchies::read(tree) {
                Ok(hierarchies) => throttle::read(tree, &hierarchies),
                Err(why) => Reading::unknown(why),
            },
            load_average: file(tree, "/proc/loadavg", |text| {
                text.split_whitespace().next()?.parse().ok()
            }),
            clock_mhz: sensors::clock_mhz(tree),
            temperature_celsius: sensors::temperature_celsius(tree),
            thermal_events: sensors::thermal_events(tree),
        }
    }
}

fn file<T>(tree: &Tree, path: &str, parse: impl FnOnce(&str) -> Option<T>) -> Reading<T> {
    match tree.read(path) {
        Ok(text) => parse(&text).map_or_else(
            || Reading::unknown(format!("`{path}` is not understood")),
            Reading::Known,
        ),
        Err(e) => Reading::unknown(format!("cannot read `{path}`: {e}")),
    }
}

/// A value at the start and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// At the start.
    pub before: f64,
    /// At the end.
    pub after: f64,
}

/// What disturbed a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disturbance {
    /// Share of all processors' time that the hypervisor gave to others while
    /// this machine wanted it.
    pub steal: Reading<Fraction>,
    /// Share of bandwidth periods in which the CPU quota stopped this container,
    /// of the worst group along the path.
    pub throttled: Reading<Fraction>,
    /// How long it was stopped, summed over processors, in that group.
    pub throttled_time: Reading<Time>,
    /// Processors kept busy by others than this process and its children: in a
    /// container, by anybody on the host.
    pub other_load_cores: Reading<f64>,
    /// Processors kept busy by this process and its children.
    pub own_load_cores: Reading<f64>,
    /// Processors that `/proc/stat` counts.
    pub processors: Reading<u32>,
    /// Runnable and blocked tasks, averaged over the last minute before the end.
    pub load_average: Reading<f64>,
    /// Mean clock of the processors, in MHz.
    pub clock_mhz: Reading<Change>,
    /// Temperature of the hottest processor sensor, in degrees Celsius.
    pub temperature_celsius: Reading<Change>,
    /// How often a core or package was slowed down because of heat.
    pub thermal_events: Reading<u64>,
}

/// What happened between two snapshots of one machine.
#[must_use]
pub fn between(before: &LoadSnapshot, after: &LoadSnapshot) -> Disturbance {
    let spent = both(&before.processor_time, &after.processor_time, |b, a| {
        a.since(b)
            .ok_or("no processor time passed between the snapshots")
    });
    let own = both(&before.own_ticks, &after.own_ticks, |b, a| {
        Ok(a.saturating_sub(*b))
    });
    let throttle = both(&before.throttle, &after.throttle, |b, a| {
        throttle::worst_between(b, a)
    });
    Disturbance {
        steal: spent.map(ProcessorTime::steal_share),
        throttled: throttle.map(|t| t.0),
        throttled_time: throttle.map(|t| t.1),
        other_load_cores: both(&spent, &own, |s, own| {
            Ok(s.cores(s.busy.saturating_sub(*own)))
        }),
        own_load_cores: both(&spent, &own, |s, own| Ok(s.cores(*own))),
        processors: spent.map(|s| s.processors),
        load_average: after.load_average.clone(),
        clock_mhz: change(&before.clock_mhz, &after.clock_mhz),
        temperature_celsius: change(&before.temperature_celsius, &after.temperature_celsius),
        thermal_events: both(&before.thermal_events, &after.thermal_events, |b, a| {
            Ok(a.saturating_sub(*b))
        }),
    }
}

fn change(before: &Reading<f64>, after: &Reading<f64>) -> Reading<Change> {
    both(before, after, |b, a| {
        Ok(Change {
            before: *b,
            after: *a,
        })
    })
}

/// Joins two readings; the first reason stands where one is unknown.
fn both<A, B, T>(
    a: &Reading<A>,
    b: &Reading<B>,
    join: impl FnOnce(&A, &B) -> Result<T, &'static str>,
) -> Reading<T> {
    match (a, b) {
        (Reading::Known(a), Reading::Known(b)) => {
            join(a, b).map_or_else(Reading::unknown, Reading::Known)
        }
        (Reading::Unknown(why), _) | (_, Reading::Unknown(why)) => Reading::Unknown(why.clone()),
    }
}

/// From here on a disturbance is worth a sentence. One percent of stolen or
/// throttled time moves a mean by as much and a tail by more; other load and
/// clocks count from 5 % of the machine, the precision asked of a calibration.
const SMALLEST_STEAL: f64 = 0.01;
const SMALLEST_THROTTLED: f64 = 0.01;
const SMALLEST_OTHER_LOAD: f64 = 0.05;
const SMALLEST_CLOCK_CHANGE: f64 = 0.05;

impl Disturbance {
    /// The doubts it casts on what was measured meanwhile; none where the
    /// machine was calm or nothing could be read.
    #[must_use]
    pub fn caveats(&self) -> Vec<Caveat> {
        [
            self.steal_caveat(),
            self.throttle_caveat(),
            self.other_load_caveat(),
            self.clock_caveat(),
            self.heat_caveat(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn steal_caveat(&self) -> Option<Caveat> {
        let steal = self.steal.known().filter(|s| s.get() >= SMALLEST_STEAL)?;
        Some(
            Caveat::new(
                CaveatKind::Noise,
                format!("the hypervisor took {steal} of the processors' time for others (steal)"),
            )
            .hint("measure on a dedicated instance, or at another time"),
        )
    }

    fn throttle_caveat(&self) -> Option<Caveat> {
        let share = self
            .throttled
            .known()
            .filter(|s| s.get() >= SMALLEST_THROTTLED)?;
        let time = self
            .throttled_time
            .known()
            .map_or_else(String::new, |t| format!(", {t} in all"));
        Some(
            Caveat::new(
                CaveatKind::Noise,
                format!("the CPU quota stopped this container in {share} of its periods{time}"),
            )
            .hint("use fewer threads than the quota has cores, or raise the quota"),
        )
    }

    fn other_load_caveat(&self) -> Option<Caveat> {
        let (cores, all) = (self.other_load_cores.known()?, self.processors.known()?);
        (*cores >= SMALLEST_OTHER_LOAD * f64::from(*all)).then(|| {
            Caveat::new(
                CaveatKind::Noise,
                format!("other programs kept {cores:.1} of {all} processors busy"),
            )
            .hint("stop them, or measure when they rest")
        })
    }

    fn clock_caveat(&self) -> Option<Caveat> {
        let Change { before, after } = *self.clock_mhz.known()?;
        ((after - before).abs() >= SMALLEST_CLOCK_CHANGE * before).then(|| {
            Caveat::new(
                CaveatKind::Drift,
                format!("the processors' mean clock went from {before:.0} to {after:.0} MHz"),
            )
        })
    }

    fn heat_caveat(&self) -> Option<Caveat> {
        let events = self.thermal_events.known().filter(|n| **n > 0)?;
        Some(
            Caveat::new(
                CaveatKind::Noise,
                format!("heat slowed the processor down {events} times"),
            )
            .hint("improve the cooling, or expect this speed under load"),
        )
    }
}

#[cfg(test)]
mod tests;
