//! The means of earlier calibrations of the same model on the same machine:
//! what shows how much a repetition differs from what the rounds of one run tell.

use super::calibration::{BetweenRuns, Calibration, SessionLayout};
use crate::{
    error::{Error, Result},
    stats::{Sample, long_run_variance},
    units::{Fraction, Time},
};
use serde::{Deserialize, Serialize};
use std::{io::Write, path::Path};

/// Earlier runs that are looked at: the machine of last year is another one.
const RUNS_KEPT: usize = 30;

/// Successive pairs of runs below which the assumed value still counts.
const ENOUGH_PAIRS: f64 = 6.0;

/// Standard deviation between runs, relative to the mean, that is assumed where
/// there are no earlier runs: the precision that a calibration is asked for by
/// default. A crowded machine has more (in 40 repetitions on two shared
/// processors with four other programs running, 12 % to 24 % were found), which
/// earlier runs then show.
pub const ASSUMED: f64 = 0.03;

/// What is remembered of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastRun {
    /// When it was taken, in RFC 3339, UTC.
    pub taken_at: String,
    /// Its rows.
    pub rows: Vec<PastRow>,
}

/// What is remembered of a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PastRow {
    /// Instances, threads, spinning.
    pub layout: SessionLayout,
    /// Items per inference.
    pub batch_size: u32,
    /// Mean service time.
    #[serde(rename = "mean_s")]
    pub mean: Time,
    /// Variance of that mean, from its own rounds, relative to the mean squared.
    pub relative_variance: f64,
}

impl PastRun {
    /// What is to be remembered of a calibration.
    #[must_use]
    pub fn of(calibration: &Calibration) -> Self {
        let rows = calibration.rows.iter().filter_map(|row| {
            let means: Vec<f64> = row.rounds.iter().map(|round| round.mean.get()).collect();
            let sample = Sample::new(means).ok()?;
            let mean = sample.mean();
            let variance = long_run_variance(&sample)? / sample.len() as f64;
            (mean > 0.0).then(|| PastRow {
                layout: row.layout,
                batch_size: row.batch_size,
                mean: Time::saturating(mean),
                relative_variance: variance / (mean * mean),
            })
        });
        Self {
            taken_at: calibration.taken_at.clone(),
            rows: rows.collect(),
        }
    }
}

/// Reads the latest runs, oldest first. A file that is not there is no run;
/// lines that cannot be read are passed over.
#[must_use]
pub fn past_runs(path: &Path) -> Vec<PastRun> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let runs: Vec<PastRun> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let skip = runs.len().saturating_sub(RUNS_KEPT);
    runs.into_iter().skip(skip).collect()
}

/// Adds a run.
///
/// # Errors
/// The file cannot be written to.
pub fn remember(path: &Path, calibration: &Calibration) -> Result<()> {
    let cannot = |error: &dyn std::fmt::Display| {
        Error::machine(format!("cannot write to `{}`: {error}", path.display()))
    };
    let mut line =
        serde_json::to_string(&PastRun::of(calibration)).map_err(|error| cannot(&error))?;
    line.push('\n');
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|error| cannot(&error))
}

/// The variation between runs: half the mean squared relative difference of the
/// same row in successive runs (an Allan variance over runs), less what the
/// rounds of each explain. With few runs the assumed value is mixed in.
#[must_use]
pub fn between_runs(runs: &[PastRun]) -> BetweenRuns {
    let mut squares = Vec::new();
    for pair in runs.windows(2) {
        let [a, b] = pair else { continue };
        let mut of_pair = Vec::new();
        for row in &a.rows {
            let same =
                |other: &&PastRow| (other.layout, other.batch_size) == (row.layout, row.batch_size);
            if let Some(next) = b.rows.iter().find(same) {
                let difference = next.mean.ratio(row.mean).ln();
                let own = f64::midpoint(row.relative_variance, next.relative_variance);
                of_pair.push((difference * difference / 2.0 - own).max(0.0));
            }
        }
        if !of_pair.is_empty() {
            // The rows of a run share its fate: they count as one.
            squares.push(of_pair.iter().sum::<f64>() / of_pair.len() as f64);
        }
    }
    let pairs = squares.len() as f64;
    let seen: f64 = squares.iter().sum();
    let prior = (ENOUGH_PAIRS - pairs).max(0.0);
    let variance = (seen + prior * ASSUMED * ASSUMED) / (pairs + prior);
    BetweenRuns {
        relative_deviation: Fraction::saturating(variance.sqrt()),
        runs: runs.len() as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mean: f64) -> PastRun {
        PastRun {
            taken_at: String::new(),
            rows: vec![PastRow {
                layout: SessionLayout {
                    instances: 1,
                    intra_op_threads: 1,
                    spinning: false,
                },
                batch_size: 1,
                mean: Time::saturating(mean),
                relative_variance: 0.0,
            }],
        }
    }

    #[test]
    fn without_earlier_runs_the_assumed_value_holds() {
        let between = between_runs(&[]);
        assert!((between.relative_deviation.get() - ASSUMED).abs() < 1e-12);
        assert_eq!(between.runs, 0);
    }

    /// Means that swing by ±d around 1: successive ones differ by 2d, so the
    /// Allan deviation is √2·d.
    #[test]
    fn swinging_runs_show_their_swing() {
        let runs: Vec<PastRun> = (0..21)
            .map(|i| run(if i % 2 == 0 { 1.0 } else { 1.1 }))
            .collect();
        let expected = 1.1_f64.ln() / 2.0_f64.sqrt();
        let between = between_runs(&runs);
        assert!((between.relative_deviation.get() - expected).abs() < 1e-9);
        assert_eq!(between.runs, 21);
    }

    #[test]
    fn damaged_lines_cost_themselves_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.history");
        let line = serde_json::to_string(&run(2.0)).unwrap();
        std::fs::write(&path, format!("{line}\n{{half a li\n{line}\n")).unwrap();
        assert_eq!(past_runs(&path), vec![run(2.0), run(2.0)]);
        assert!(past_runs(&folder.path().join("none")).is_empty());
    }
}
