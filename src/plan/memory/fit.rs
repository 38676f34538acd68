//! Does it fit: on a card, by tier, and how much more would.

use super::estimate::estimate_plainly;
use super::footprint::{Footprint, Part};
use super::question::Question;
use crate::error::Result;
use crate::units::Bytes;
use serde::Serialize;

/// Whether a footprint fits into a card's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Even the upper end of the interval fits.
    Fits,
    /// What is needed fits, the upper end of the interval does not. Needed is the
    /// estimate without what the allocator holds unused, which it gives back when
    /// memory runs out.
    Tight,
    /// Not even what is needed fits.
    DoesNotFit,
}

impl Verdict {
    /// The verdict in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Tight => "tight",
            Self::DoesNotFit => "does not fit",
        }
    }
}

/// A verdict with the room that is left, or what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The verdict.
    pub verdict: Verdict,
    /// Usable memory of one card.
    pub usable: Bytes,
    /// Room left or missing.
    pub room: Room,
}

/// Room left or missing on one card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Room {
    /// So much is left beside the estimate; zero when the allocator will have to
    /// give back what it holds unused.
    Left(Bytes),
    /// So much is missing even then.
    Short(Bytes),
}

/// Whether the footprint fits into cards of `usable` memory each, as the driver
/// reports it (less what others hold). Memory is compared card by card: what is
/// left on one does not help another.
#[must_use]
pub fn fit(footprint: &Footprint, usable: Bytes) -> Fit {
    let total = &footprint.total;
    let needed = total.value - footprint.part(Part::Fragmentation);
    let verdict = if needed > usable {
        Verdict::DoesNotFit
    } else if total.high > usable {
        Verdict::Tight
    } else {
        Verdict::Fits
    };
    let room = if needed > usable {
        Room::Short(needed - usable)
    } else {
        Room::Left(usable - total.value)
    };
    Fit {
        verdict,
        usable,
        room,
    }
}

/// A size that cards are sold in, and what the driver reports for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tier {
    /// The label, in GB.
    pub label: u32,
    /// The least that a driver was seen to report for a card of that label.
    pub usable: Bytes,
    /// The card it was seen on.
    pub card: &'static str,
}

/// The usual sizes. What is usable is the least that NVML was seen to report for
/// a card of that label, on cloud machines (Spare Cores inspector data, August
/// 2026).
pub const TIERS: [Tier; 11] = [
    Tier {
        label: 8,
        usable: Bytes::from_mib(7680),
        card: "Tesla P4",
    },
    Tier {
        label: 16,
        usable: Bytes::from_mib(15360),
        card: "Tesla T4",
    },
    Tier {
        label: 24,
        usable: Bytes::from_mib(23028),
        card: "A10",
    },
    Tier {
        label: 32,
        usable: Bytes::from_mib(32768),
        card: "V100 32 GB",
    },
    Tier {
        label: 40,
        usable: Bytes::from_mib(40960),
        card: "A100 40 GB",
    },
    Tier {
        label: 48,
        usable: Bytes::from_mib(46068),
        card: "L40S",
    },
    Tier {
        label: 80,
        usable: Bytes::from_mib(81559),
        card: "H100",
    },
    Tier {
        label: 94,
        usable: Bytes::from_mib(95830),
        card: "H100 NVL",
    },
    Tier {
        label: 96,
        usable: Bytes::from_mib(97887),
        card: "RTX PRO 6000",
    },
    Tier {
        label: 141,
        usable: Bytes::from_mib(143_771),
        card: "H200",
    },
    Tier {
        label: 180,
        usable: Bytes::from_mib(183_359),
        card: "B200",
    },
];

/// The verdict for every usual size of card.
#[must_use]
pub fn tiers(footprint: &Footprint) -> Vec<(Tier, Fit)> {
    TIERS
        .iter()
        .map(|&tier| (tier, fit(footprint, tier.usable)))
        .collect()
}

/// The largest value of a setting that goes into a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Largest {
    /// The largest that fits; `None` when not even 1 does.
    pub fits: Option<u64>,
    /// The largest that is not beyond the card, `tight` included.
    pub tight: Option<u64>,
}

/// No search goes beyond this.
const LIMIT: u64 = 1 << 22;

/// The largest batch on cards of `usable` memory, everything else as asked.
///
/// # Errors
/// As for [`estimate`](super::estimate()).
pub fn largest_batch(question: &Question, usable: Bytes) -> Result<Largest> {
    largest(question, usable, &|q, value| q.batch = value)
}

/// The largest sequence length; for models with learned positions never beyond
/// those.
///
/// # Errors
/// As for [`estimate`](super::estimate()).
pub fn largest_sequence(question: &Question, usable: Bytes) -> Result<Largest> {
    largest(question, usable, &|q, value| q.sequence = Some(value))
}

fn largest(
    question: &Question,
    usable: Bytes,
    set: &dyn Fn(&mut Question, u64),
) -> Result<Largest> {
    let verdict_at = |value: u64| -> Option<Verdict> {
        let mut asked = question.clone();
        set(&mut asked, value);
        let footprint = estimate_plainly(&asked).ok()?;
        Some(fit(&footprint, usable).verdict)
    };
    // What is wrong with the question itself is an error, not a size of zero.
    let mut least = question.clone();
    set(&mut least, 1);
    estimate_plainly(&least)?;
    Ok(Largest {
        fits: last_where(&|value| verdict_at(value) == Some(Verdict::Fits)),
        tight: last_where(&|value| {
            matches!(verdict_at(value), Some(Verdict::Fits | Verdict::Tight))
        }),
    })
}

/// The largest value for which `holds`, which holds up to some value and not
/// beyond: doubling, then halving the gap.
fn last_where(holds: &dyn Fn(u64) -> bool) -> Option<u64> {
    if !holds(1) {
        return None;
    }
    let mut good = 1;
    while good < LIMIT && holds(good * 2) {
        good *= 2;
    }
    let mut bad = good * 2;
    while bad - good > 1 {
        let between = good + (bad - good) / 2;
        if holds(between) {
            good = between;
        } else {
            bad = between;
        }
    }
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_that_holds_is_found_exactly() {
        for limit in [1, 2, 3, 7, 8, 9, 1000, 65_537] {
            assert_eq!(last_where(&|v| v <= limit), Some(limit));
        }
        assert_eq!(last_where(&|_| false), None);
    }
}
