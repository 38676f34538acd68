//! One priced machine type in one region.

use crate::error::Error;
use crate::units::{Bytes, Fraction, Time, UsdPerHour};
use jiff::civil::Date;
use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr};

/// On what condition a price holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Term {
    /// By use, no promise on either side.
    OnDemand,
    /// Cheaper; the provider may take the machine back.
    Spot,
    /// Committed for one year.
    #[serde(rename = "reserved-1y")]
    Reserved1y,
    /// Committed for three years.
    #[serde(rename = "reserved-3y")]
    Reserved3y,
    /// The user's own hardware.
    Owned,
}

impl Term {
    /// All terms, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::OnDemand,
        Self::Spot,
        Self::Reserved1y,
        Self::Reserved3y,
        Self::Owned,
    ];

    /// The name that people type and read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
            Self::Reserved1y => "reserved-1y",
            Self::Reserved3y => "reserved-3y",
            Self::Owned => "owned",
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Term {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|term| term.name() == text);
        found.ok_or_else(|| {
            Error::bad_input(format!("no price term is called `{text}`"))
                .hint("the terms are on-demand, spot, reserved-1y, reserved-3y and owned")
        })
    }
}

/// A machine type that a provider sells in a region, with its prices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Offer {
    /// Who sells it: `aws`.
    pub provider: String,
    /// What they call it: `c7i.2xlarge`.
    pub instance_type: String,
    /// Where: `us-east-1`; `*` where one price holds in all of the provider's regions.
    pub region: String,
    /// Virtual CPUs, as the provider counts them.
    pub vcpus: u32,
    /// Main memory.
    #[serde(rename = "memory_bytes")]
    pub memory: Bytes,
    /// `x86_64` or `aarch64`.
    pub arch: String,
    /// The CPU family in the hardware book: `aws/c7i`. None where the provider does
    /// not say; a plan that computes on the CPU cannot be made for it then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// The share of each vCPU that may be used without end, where the machine is
    /// burstable or shares its CPUs with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_baseline: Option<Fraction>,
    /// Its GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuPart>,
    /// The prices that are known, at most one per term, in the order of the terms.
    pub prices: Vec<Price>,
    /// The price per hour of a machine that runs all month, where the provider
    /// discounts that of itself (Google's sustained use).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_month: Option<UsdPerHour>,
    /// How use is rounded; none where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing: Option<Billing>,
    /// Where the on-demand price was read.
    pub source: String,
    /// The file of the price book that it stands in.
    pub file: String,
    /// What to know before using the price.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Offer {
    /// The price on a term, where it is known.
    #[must_use]
    pub fn price(&self, term: Term) -> Option<&Price> {
        self.prices.iter().find(|price| price.term == term)
    }

    /// Whether the machine can carry a steady load at full speed: it is neither
    /// burstable nor sells shared CPUs.
    #[must_use]
    pub fn sustains_full_load(&self) -> bool {
        self.cpu_baseline.is_none_or(|share| share.get() >= 1.0)
    }
}

/// `aws c7i.2xlarge in us-east-1`.
impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.provider, self.instance_type)?;
        if self.region != "*" {
            write!(f, " in {}", self.region)?;
        }
        Ok(())
    }
}

/// The GPUs of a machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuPart {
    /// The name in the hardware book: `A100-80GB`.
    pub name: String,
    /// How many.
    pub count: u32,
    /// Memory that can be used on each: the smaller of what the provider and the
    /// specification state.
    #[serde(rename = "memory_bytes")]
    pub memory: Bytes,
    /// The part of one GPU that is sold, where it is not a whole one (virtual GPU).
    /// The speed of a whole GPU must not be assumed for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Fraction>,
}

/// A price on one term.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Price {
    /// The term.
    pub term: Term,
    /// The whole machine, per hour; never zero.
    #[serde(rename = "usd_per_hour")]
    pub per_hour: UsdPerHour,
    /// The day on which it held.
    #[serde(serialize_with = "as_text")]
    pub as_of: Date,
    /// Whether it was computed or carried over, not read.
    pub estimated: bool,
    /// What it rests on, where that is not simply the provider's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// How often the provider takes such a machine back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interruption: Option<Interruption>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn as_text<S: Serializer>(date: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(date)
}

/// The share of spot machines that were taken back within a month, as a range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interruption {
    /// At least.
    pub low: Fraction,
    /// At most.
    pub high: Fraction,
}

impl FromStr for Interruption {
    type Err = String;

    /// `<5%`, `5-10%`, `>20%`, as AWS Spot Advisor writes them.
    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            || format!("`{text}` is not a rate of interruption: write `<5%`, `5-10%` or `>20%`");
        let bare = text.strip_suffix('%').ok_or_else(refused)?;
        let (low, high) = match (bare.strip_prefix('<'), bare.strip_prefix('>')) {
            (Some(high), _) => ("0", high),
            (_, Some(low)) => (low, "100"),
            _ => bare.split_once('-').ok_or_else(refused)?,
        };
        let fraction = |s: &str| {
            let percent: f64 = s.parse().map_err(|_| refused())?;
            Fraction::new(percent / 100.0).map_err(|_| refused())
        };
        let (low, high) = (fraction(low)?, fraction(high)?);
        if low < high {
            Ok(Self { low, high })
        } else {
            Err(refused())
        }
    }
}

/// `<5%`, `5-10%`, `>20%`.
impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: Fraction| (share.get() * 1e4).round() / 1e2;
        let (low, high) = (percent(self.low), percent(self.high));
        if low <= 0.0 {
            write!(f, "<{high}%")
        } else if high >= 100.0 {
            write!(f, ">{low}%")
        } else {
            write!(f, "{low}-{high}%")
        }
    }
}

/// How a provider rounds use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Billing {
    /// Use is rounded up to a multiple of this.
    #[serde(rename = "granularity_s")]
    pub granularity: Time,
    /// The least that is billed.
    #[serde(rename = "minimum_s")]
    pub minimum: Time,
    /// What a stopped machine still costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// How sure this is: `high`, `medium`, `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<String>,
}

impl Billing {
    /// What is billed for running that long.
    #[must_use]
    pub fn billed(&self, used: Time) -> Time {
        let used = used.max(self.minimum);
        if self.granularity.is_zero() {
            return used;
        }
        self.granularity.scaled(used.ratio(self.granularity).ceil())
    }
}
