//! What has been measured, written down as it comes: whatever ends the program
//! (Ctrl-C, a full disk, SIGKILL), the next run goes on from there.
//!
//! A line is one entry: the first eight hexadecimal digits of the SHA-256 of
//! its JSON, a blank, the JSON. Each is appended in one write, so that a crash
//! can damage the last line only; a damaged line is passed over and told. Lines
//! are not forced to the disk, which would disturb what is being measured: they
//! survive any end of the program, not a failing machine.

use crate::{
    caveat::Caveat,
    profile::{
        calibration::{Fingerprint, Round, Row, SessionLayout, Start},
        hold_ups::HoldUps,
        interference::Interference,
    },
    units::{Bytes, Time},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// The version of the journal's lines.
const VERSION: u32 = 1;

/// An older journal is begun anew: yesterday's machine is another one.
const OLDEST: f64 = 24.0 * 3600.0;

/// Service times kept per visit.
pub(super) const SAMPLES_PER_VISIT: usize = 64;

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub(super) enum Entry {
    /// The first line.
    Began {
        /// [`VERSION`].
        version: u32,
        /// When, in RFC 3339, UTC.
        taken_at: String,
        /// Of what.
        fingerprint: Box<Fingerprint>,
    },
    /// A layout is ready.
    Started {
        /// What that cost.
        start: Start,
    },
    /// A row was visited.
    Visited {
        layout: SessionLayout,
        batch_size: u32,
        round: Round,
        #[serde(rename = "samples_s")]
        samples: Vec<Time>,
        #[serde(default, skip_serializing_if = "HoldUps::is_empty")]
        hold_ups: HoldUps,
        #[serde(default, skip_serializing_if = "Interference::is_empty")]
        interference: Interference,
        peak_memory_bytes: Option<Bytes>,
        /// Time spent in rounds so far.
        #[serde(rename = "spent_s")]
        spent: Time,
    },
    /// A layout was visited with idle gaps.
    Idled {
        layout: SessionLayout,
        visit: IdleVisit,
    },
    /// A doubt arose.
    Doubted { caveat: Caveat },
}

/// One visit with idle gaps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct IdleVisit {
    /// Mean service time back to back.
    #[serde(rename = "back_to_back_s")]
    pub back_to_back: Time,
    /// Gap, mean service time after it, inferences.
    #[serde(rename = "after_s")]
    pub after: Vec<(Time, Time, u32)>,
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// When it began; none if there is nothing to go on from.
    pub taken_at: Option<String>,
    /// Time that it spent in rounds.
    pub spent: Time,
    /// Rows with what was measured of them.
    pub rows: BTreeMap<(SessionLayout, u32), Row>,
    /// Layouts that it had started.
    pub starts: Vec<Start>,
    /// Idle visits.
    pub idle: BTreeMap<SessionLayout, Vec<IdleVisit>>,
    /// Doubts.
    pub caveats: Vec<Caveat>,
    /// It is of something else, or too old.
    refused: bool,
    /// Lines that could not be read.
    pub damaged: usize,
    /// Why the file is not used, where it is not.
    pub unusable: Option<String>,
}

/// The open journal; writes nowhere once a write has failed.
#[derive(Debug, Default)]
pub(super) struct Journal {
    path: PathBuf,
    file: Option<File>,
}

impl Journal {
    /// Opens the journal at `path` (none: keeps none) and reads what an earlier
    /// run of the same fingerprint left there.
    pub(super) fn open(path: Option<&Path>, fingerprint: &Fingerprint) -> (Self, Recovered) {
        let Some(path) = path else {
            return (Self::default(), Recovered::default());
        };
        let mut journal = Self {
            path: path.to_owned(),
            file: None,
        };
        match journal.try_open(fingerprint) {
            Ok(recovered) => (journal, recovered),
            Err(why) => {
                journal.file = None;
                let recovered = Recovered {
                    unusable: Some(why),
                    ..Recovered::default()
                };
                (journal, recovered)
            }
        }
    }

    fn try_open(&mut self, fingerprint: &Fingerprint) -> Result<Recovered, String> {
        let cannot = |error: std::io::Error| error.to_string();
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(cannot)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&self.path)
            .map_err(cannot)?;
        if file.try_lock().is_err() {
            return Err(
                "another calibration of this model is running, which disturbs both".to_owned(),
            );
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(cannot)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut recovered = recover(&text, fingerprint);
        if recovered.taken_at.is_none() {
            // Nothing to go on from: what is there only costs room.
            file.set_len(0).map_err(cannot)?;
            file.seek(SeekFrom::Start(0)).map_err(cannot)?;
        } else if !bytes.ends_with(b"\n") {
            // The last line was cut short; the next must not be glued to it.
            file.write_all(b"\n").map_err(cannot)?;
        }
        self.file = Some(file);
        if recovered.taken_at.is_none() {
            let began = Entry::Began {
                version: VERSION,
                taken_at: jiff::Timestamp::now().to_string(),
                fingerprint: Box::new(fingerprint.clone()),
            };
            recovered.unusable = self.note(&began).err();
        }
        Ok(recovered)
    }

    /// Writes an entry down. After a failure nothing more is written: a journal
    /// with a hole would be gone on with as if it were whole.
    ///
    /// # Errors
    /// The first failure, in words; later calls succeed and do nothing.
    pub(super) fn note(&mut self, entry: &Entry) -> Result<(), String> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let written = line(entry).and_then(|line| {
            file.write_all(line.as_bytes())
                .map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            self.file = None;
            return Err(format!(
                "cannot write to the journal `{}`: {error}; what comes from here on is kept in memory only",
                self.path.display()
            ));
        }
        Ok(())
    }
}

fn checksum(json: &str) -> String {
    Sha256::digest(json.as_bytes())
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn line(entry: &Entry) -> Result<String, String> {
    let json = serde_json::to_string(entry).map_err(|error| error.to_string())?;
    Ok(format!("{} {json}\n", checksum(&json)))
}

fn entry(line: &str) -> Option<Entry> {
    let (sum, json) = line.split_once(' ')?;
    (checksum(json) == sum)
        .then(|| serde_json::from_str(json).ok())
        .flatten()
}

fn recover(text: &str, fingerprint: &Fingerprint) -> Recovered {
    let mut recovered = Recovered::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match entry(line) {
            Some(entry) => recovered.take(entry, fingerprint),
            None => recovered.damaged += 1,
        }
    }
    if recovered.taken_at.is_none() && !recovered.refused && !recovered.rows.is_empty() {
        // Only the first line is damaged; the file's name tells of what it is.
        recovered.taken_at = Some(jiff::Timestamp::now().to_string());
    }
    if recovered.taken_at.is_none() {
        return Recovered {
            damaged: recovered.damaged,
            ..Recovered::default()
        };
    }
    recovered
}

impl Recovered {
    fn take(&mut self, entry: Entry, fingerprint: &Fingerprint) {
        match entry {
            Entry::Began {
                version,
                taken_at,
                fingerprint: of,
            } => {
                let fresh = taken_at.parse::<jiff::Timestamp>().is_ok_and(|at| {
                    jiff::Timestamp::now().duration_since(at).as_secs_f64() < OLDEST
                });
                if version == VERSION && fresh && of.difference(fingerprint).is_none() {
                    self.taken_at = Some(taken_at);
                } else {
                    self.refused = true;
                }
            }
            Entry::Started { start } => {
                self.starts.retain(|other| other.layout != start.layout);
                self.starts.push(start);
            }
            Entry::Visited {
                layout,
                batch_size,
                round,
                samples,
                hold_ups,
                interference,
                peak_memory_bytes,
                spent,
            } => {
                let row = self
                    .rows
                    .entry((layout, batch_size))
                    .or_insert_with(|| Row::new(layout, batch_size));
                row.rounds.push(round);
                row.samples.extend(samples);
                row.hold_ups.add(&hold_ups);
                row.interference.add(&interference);
                row.peak_memory_bytes = row.peak_memory_bytes.or(peak_memory_bytes);
                self.spent = self.spent.max(spent);
            }
            Entry::Idled { layout, visit } => self.idle.entry(layout).or_default().push(visit),
            Entry::Doubted { caveat } => self.caveats.push(caveat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    fn visit(at: f64) -> Entry {
        Entry::Visited {
            layout: SessionLayout {
                instances: 1,
                intra_op_threads: 2,
                spinning: false,
            },
            batch_size: 4,
            round: Round {
                inferences: 3,
                mean: Time::from_millis(2.0),
                at: Time::saturating(at),
            },
            samples: vec![Time::from_millis(2.0); 3],
            hold_ups: HoldUps::default(),
            interference: Interference::default(),
            peak_memory_bytes: None,
            spent: Time::saturating(at),
        }
    }

    #[test]
    fn what_was_written_is_read_back_by_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.journal");
        let (mut journal, recovered) = Journal::open(Some(&path), &fingerprint("h"));
        assert!(recovered.taken_at.is_none() && recovered.unusable.is_none());
        for at in [1.0, 2.0] {
            journal.note(&visit(at)).unwrap();
        }
        drop(journal);
        let (_, recovered) = Journal::open(Some(&path), &fingerprint("h"));
        assert!(recovered.taken_at.is_some());
        let row = recovered.rows.values().next().unwrap();
        assert_eq!((row.rounds.len(), row.samples.len()), (2, 6));
        assert_eq!(recovered.spent, Time::saturating(2.0));
    }

    #[test]
    fn the_journal_of_another_model_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.journal");
        let (mut journal, _) = Journal::open(Some(&path), &fingerprint("h"));
        journal.note(&visit(1.0)).unwrap();
        drop(journal);
        let (_, recovered) = Journal::open(Some(&path), &fingerprint("other"));
        assert!(recovered.taken_at.is_none() && recovered.rows.is_empty());
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_journal_in_use_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.journal");
        let (_first, _) = Journal::open(Some(&path), &fingerprint("h"));
        let (mut second, recovered) = Journal::open(Some(&path), &fingerprint("h"));
        assert!(recovered.unusable.unwrap().contains("another calibration"));
        second.note(&visit(1.0)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_once_and_then_borne() {
        let mut journal = Journal {
            path: "/dev/full".into(),
            file: Some(OpenOptions::new().append(true).open("/dev/full").unwrap()),
        };
        assert!(
            journal
                .note(&visit(1.0))
                .unwrap_err()
                .contains("No space left")
        );
        journal.note(&visit(2.0)).unwrap();
    }

    proptest! {
        /// Whatever a crash or a bad disk does to one stretch of the file, the
        /// lines outside it stand and no false one appears.
        #[test]
        fn damage_costs_only_the_lines_it_touches(
            from in 0usize..2000, length in 1usize..200, byte in any::<u8>(),
        ) {
            let began = Entry::Began {
                version: VERSION,
                taken_at: jiff::Timestamp::now().to_string(),
                fingerprint: Box::new(fingerprint("h")),
            };
            let mut lines = vec![line(&began).unwrap()];
            lines.extend((0..8).map(|i| line(&visit(f64::from(i))).unwrap()));
            let mut bytes = lines.concat().into_bytes();
            let start = lines[0].len() + from % (bytes.len() - lines[0].len());
            let end = (start + length).min(bytes.len());
            let before = bytes.clone();
            bytes[start..end].fill(byte);
            let recovered = recover(&String::from_utf8_lossy(&bytes), &fingerprint("h"));
            let mut position = 0;
            let mut untouched = 0;
            for line in &lines {
                let whole = position..position + line.len();
                untouched += usize::from(before[whole.clone()] == bytes[whole]);
                position += line.len();
            }
            let rounds: usize = recovered.rows.values().map(|row| row.rounds.len()).sum();
            prop_assert!(recovered.taken_at.is_some());
            // A changed line end joins two lines, which costs the next as well.
            // The first line is one of the untouched and holds no round.
            prop_assert!(rounds < untouched && rounds + 3 >= untouched);
            for row in recovered.rows.values() {
                prop_assert!(row.rounds.iter().all(|r| r.mean == Time::from_millis(2.0)));
            }
        }
    }
}
