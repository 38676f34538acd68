//! Every verification, kept: what was predicted, what came.
//!
//! A line is one entry. It is written in one piece at the end of the file, under
//! a lock, so that a crash can damage the last line only; a damaged line is
//! passed over.

use super::verification::{Judgement, Target, Verification};
use crate::{
    error::{Error, Result},
    profile::calibration::{BetweenRuns, Calibration, Fingerprint},
    units::{Fraction, Rate, Time},
    workload::{Percentile, ServingConfiguration},
};
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Verifications of the same model on the same machine from which on their
/// spread enters the intervals of plans: fewer say little of a spread.
pub const LEAST_ENTRIES: usize = 4;

/// The latest verifications that count.
const LATEST: usize = 40;

/// The version of the lines.
const VERSION: u32 = 1;

/// What is kept of a verification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// `VERSION`.
    pub version: u32,
    /// When, in RFC 3339, UTC.
    pub taken_at: String,
    /// The model's name.
    pub model: String,
    /// What was driven.
    pub target: Target,
    /// What the prediction holds for.
    pub fingerprint: Option<Fingerprint>,
    /// How it was served.
    pub configuration: ServingConfiguration,
    /// The load.
    #[serde(rename = "offered_per_s")]
    pub offered: Rate,
    /// Requests that count.
    pub counted: u64,
    /// Those without an answer.
    pub failed: u64,
    /// Busy share of the instances.
    pub utilisation: Option<Fraction>,
    /// By what all service times would have to be multiplied to explain the
    /// measured p95.
    pub service_factor: Option<f64>,
    /// By percentile.
    pub percentiles: Vec<Compared>,
    /// Whether the prediction held.
    pub judgement: Judgement,
    /// Whether other programs or the hypervisor took processors away meanwhile:
    /// then it tells of them and not of the prediction, and is not counted.
    pub disturbed: bool,
}

/// One percentile, predicted and measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Which.
    pub percentile: Percentile,
    /// Predicted for the long run.
    #[serde(rename = "predicted_s")]
    pub predicted: Option<Time>,
    /// Predicted for these very arrivals.
    #[serde(rename = "replayed_s")]
    pub replayed: Option<Time>,
    /// Predicted from the service times of the run itself.
    #[serde(rename = "from_recorded_s")]
    pub from_recorded: Option<Time>,
    /// What came.
    #[serde(rename = "measured_s")]
    pub measured: Option<Time>,
}

impl Entry {
    /// What is to be kept.
    #[must_use]
    pub fn of(verification: &Verification) -> Self {
        let measured = &verification.measured;
        let value = |forecast: &Option<super::Forecast>, percentile| {
            let span = forecast.as_ref()?.percentile(percentile)?;
            Some(span.latency.as_ref()?.value)
        };
        Self {
            version: VERSION,
            taken_at: verification.taken_at.clone(),
            model: verification.model.clone(),
            target: verification.target.clone(),
            fingerprint: verification.fingerprint.clone(),
            configuration: verification.configuration.clone(),
            offered: measured.offered,
            counted: measured.counted,
            failed: measured.failed,
            utilisation: measured.utilisation,
            service_factor: verification.service_factor,
            percentiles: measured
                .percentiles
                .iter()
                .map(|outcome| Compared {
                    percentile: outcome.percentile,
                    predicted: value(&verification.predicted, outcome.percentile),
                    replayed: value(&verification.replayed, outcome.percentile),
                    from_recorded: value(&verification.from_recorded, outcome.percentile),
                    measured: outcome.value,
                })
                .collect(),
            judgement: verification.judgement,
            disturbed: !verification.disturbance.caveats().is_empty(),
        }
    }

    /// Measured over predicted (of the very arrivals where they were replayed).
    #[must_use]
    pub fn ratio(&self, percentile: Percentile) -> Option<f64> {
        let entry = self
            .percentiles
            .iter()
            .find(|p| p.percentile == percentile)?;
        let predicted = entry.replayed.or(entry.predicted)?;
        let measured = entry.measured?;
        (!predicted.is_zero() && !measured.is_zero()).then(|| measured.ratio(predicted))
    }
}

/// How far predictions were off, in service times: what carries over to other
/// loads, at which the same error of a service time has another effect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Root mean square of the logarithm of the factor by which all service
    /// times would have to be multiplied to explain the measured p95.
    pub relative_deviation: Fraction,
    /// Verifications that it rests on.
    pub verifications: u32,
}

/// The file.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
}

impl Ledger {
    /// The ledger under the program's data folder; nothing is created yet.
    #[must_use]
    pub fn under(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join("verifications.jsonl"),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All entries, oldest first, and how many lines could not be read. A file
    /// that is not there is an empty ledger.
    #[must_use]
    pub fn entries(&self) -> (Vec<Entry>, usize) {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let mut damaged = 0;
        let entries = lines
            .filter_map(|line| match serde_json::from_str::<Entry>(line) {
                Ok(entry) if entry.version == VERSION => Some(entry),
                _ => {
                    damaged += 1;
                    None
                }
            })
            .collect();
        (entries, damaged)
    }

    /// Adds an entry: the whole line or, where the disk is full, none of it.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn add(&self, entry: &Entry) -> Result<()> {
        let cannot = |error: &dyn std::fmt::Display| {
            Error::machine(format!(
                "cannot write to the ledger `{}`: {error}",
                self.path.display()
            ))
            .hint("give another folder with `--data-dir DIR`")
        };
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| cannot(&error))?;
        }
        let mut line = serde_json::to_string(entry).map_err(|error| cannot(&error))?;
        line.push('\n');
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&self.path)
            .map_err(|error| cannot(&error))?;
        file.lock().map_err(|error| cannot(&error))?;
        let length = file.metadata().map_err(|error| cannot(&error))?.len();
        if length > 0 {
            // A line that a crash cut short must not swallow the next one.
            let mut last = [0];
            file.seek(SeekFrom::End(-1))
                .and_then(|_| file.read_exact(&mut last))
                .map_err(|error| cannot(&error))?;
            if last != *b"\n" {
                line.insert(0, '\n');
            }
        }
        if let Err(error) = file.write_all(line.as_bytes()) {
            let _ = file.set_len(length);
            return Err(cannot(&error));
        }
        Ok(())
    }

    /// The spread of the latest undisturbed verifications of this very
    /// fingerprint, in process; none with fewer than [`LEAST_ENTRIES`].
    #[must_use]
    pub fn spread(&self, fingerprint: &Fingerprint) -> Option<Spread> {
        let (entries, _) = self.entries();
        spread(&entries, fingerprint)
    }
}

fn spread(entries: &[Entry], fingerprint: &Fingerprint) -> Option<Spread> {
    let ratios: Vec<f64> = entries
        .iter()
        .rev()
        .filter(|entry| entry.target == Target::InProcess && !entry.disturbed)
        .filter(|entry| {
            let of = entry.fingerprint.as_ref();
            of.is_some_and(|of| of.difference(fingerprint).is_none())
        })
        .filter_map(|entry| entry.service_factor)
        .filter(|factor| *factor > 0.0 && factor.is_finite())
        .take(LATEST)
        .collect();
    if ratios.len() < LEAST_ENTRIES {
        return None;
    }
    let squares: f64 = ratios.iter().map(|ratio| ratio.ln().powi(2)).sum();
    Some(Spread {
        relative_deviation: Fraction::saturating((squares / ratios.len() as f64).sqrt()),
        verifications: ratios.len() as u32,
    })
}

impl Spread {
    /// Widens (never narrows) the intervals of a calibration of this machine.
    /// The interval of the next mean counts the deviation between runs twice,
    /// for this run and the next, so a single one of them has a √2-th of what
    /// verifications show.
    #[must_use]
    pub fn widen(self, mut calibration: Calibration) -> Calibration {
        let deviation = Fraction::saturating(self.relative_deviation.get() / 2_f64.sqrt());
        let known = calibration.between_runs;
        calibration.between_runs = Some(BetweenRuns {
            relative_deviation: known.map_or(deviation, |k| {
                if k.relative_deviation > deviation {
                    k.relative_deviation
                } else {
                    deviation
                }
            }),
            runs: known.map_or(0, |k| k.runs),
        });
        calibration
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(model: &str) -> Fingerprint {
        Fingerprint {
            cpu: "a".into(),
            cpu_signature: "6/143/8".into(),
            usable_threads: 2,
            cpu_quota_millicores: None,
            gpu: None,
            runtime: "1.31.1".into(),
            execution_provider: "CPUExecutionProvider".into(),
            model: model.into(),
        }
    }

    fn entry(model: &str, predicted: f64, measured: f64) -> Entry {
        Entry {
            version: VERSION,
            taken_at: "2026-01-01T00:00:00Z".into(),
            model: model.into(),
            target: Target::InProcess,
            fingerprint: Some(fingerprint(model)),
            configuration: ServingConfiguration::unbatched(1),
            offered: Rate::saturating(10.0),
            counted: 100,
            failed: 0,
            utilisation: None,
            service_factor: Some(measured / predicted),
            percentiles: vec![Compared {
                percentile: Percentile::P95,
                predicted: None,
                replayed: Some(Time::from_millis(predicted)),
                from_recorded: None,
                measured: Some(Time::from_millis(measured)),
            }],
            judgement: Judgement::Holds,
            disturbed: false,
        }
    }

    #[test]
    fn what_was_added_is_read_back_and_damage_costs_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::under(folder.path());
        assert_eq!(ledger.entries(), (Vec::new(), 0));
        ledger.add(&entry("m", 10.0, 11.0)).unwrap();
        let text = std::fs::read_to_string(ledger.path()).unwrap();
        std::fs::write(ledger.path(), format!("{text}{{\"version\":1,\"cut")).unwrap();
        ledger.add(&entry("m", 10.0, 12.0)).unwrap();
        let (entries, damaged) = ledger.entries();
        assert_eq!((entries.len(), damaged), (2, 1));
    }

    #[test]
    fn the_spread_is_the_root_mean_square_of_log_ratios_of_the_same_machine() {
        let mut entries: Vec<Entry> = [1.1, 1.0 / 1.1, 1.1]
            .map(|r| entry("m", 10.0, 10.0 * r))
            .to_vec();
        assert_eq!(spread(&entries, &fingerprint("m")), None);
        entries.push(entry("other", 10.0, 90.0));
        assert_eq!(spread(&entries, &fingerprint("m")), None);
        entries.push(entry("m", 10.0, 11.0));
        let spread = spread(&entries, &fingerprint("m")).unwrap();
        assert!((spread.relative_deviation.get() - 1.1_f64.ln()).abs() < 1e-9);
        assert_eq!(spread.verifications, 4);
    }

    #[test]
    fn a_spread_widens_and_never_narrows() {
        let calibration = crate::profile::calibration::example(&[((1, 1), 1, 0.1)]);
        let with = |deviation| {
            let spread = Spread {
                relative_deviation: Fraction::saturating(deviation),
                verifications: 4,
            };
            let wide = spread.widen(calibration.clone());
            let row = &wide.rows[0];
            let time = row
                .service_time(
                    wide.between_runs.as_ref(),
                    &crate::estimate::Source::Measured,
                )
                .unwrap();
            (time.high - time.value).ratio(time.value)
        };
        assert!((with(0.1) - 0.196).abs() < 1e-3, "{}", with(0.1));
        let mut known = calibration.clone();
        known.between_runs = Some(BetweenRuns {
            relative_deviation: Fraction::saturating(0.2),
            runs: 9,
        });
        let spread = Spread {
            relative_deviation: Fraction::saturating(0.1),
            verifications: 4,
        };
        assert_eq!(spread.widen(known.clone()).between_runs, known.between_runs);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told() {
        let ledger = Ledger {
            path: "/dev/full".into(),
        };
        let error = ledger.add(&entry("m", 1.0, 1.0)).unwrap_err();
        assert!(error.message().contains("ledger"), "{error}");
    }
}
