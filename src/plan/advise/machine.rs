//! The machines that come into question, each with the curves of the model on it.

use crate::{
    caveat::{Caveat, CaveatKind},
    estimate::Source,
    plan::{
        latency::{
            LatencyCurve,
            transfer::{CpuTarget, MeasuredOn, to_cpu, to_gpu},
        },
        pricing::{Offer, OfferKind, Term},
    },
    profile::{
        calibration::{Calibration, Device, ModelClass, ModelSummary},
        hardware::CpuSpec,
        hardware_book::HardwareBook,
    },
    units::{Bytes, UsdPerHour},
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// Whether a model runs on processors or on GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// On the processor.
    Cpu,
    /// On NVIDIA GPUs.
    Gpu,
}

impl Kind {
    /// The word in tables and sentences.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Gpu => "GPU",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Cpu => Self::Gpu,
            Self::Gpu => Self::Cpu,
        }
    }
}

/// What a machine is called and what it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// `aws`, or `here` for the machine that the program runs on.
    pub provider: String,
    /// `c7i.2xlarge`.
    pub instance_type: String,
    /// Where it is cheapest among the regions asked for.
    pub region: String,
    /// How it is paid for.
    pub term: Term,
    /// The whole machine; none for an unpriced machine of one's own.
    #[serde(rename = "price_usd_per_hour")]
    pub price: Option<UsdPerHour>,
    /// What the model runs on.
    pub kind: Kind,
    /// `8 vCPU Intel Sapphire Rapids`, `1 × L4`.
    pub hardware: String,
    /// Memory that the model must fit into: of the machine, or of one GPU.
    #[serde(rename = "memory_bytes")]
    pub memory: Bytes,
    /// Doubts about the price or the hardware.
    #[serde(skip)]
    pub caveats: Vec<Caveat>,
}

/// A machine and the curves of the model on it, one per session layout.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The machine.
    pub machine: Machine,
    /// What its speed depends on; machines with the same key share results.
    pub speed_key: String,
    /// The curves.
    pub curves: Arc<Vec<LatencyCurve>>,
}

/// What candidates are made from.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'e> {
    /// Calibrations of the model, of this machine's devices.
    pub calibrations: &'e [Calibration],
    /// Specifications of processors and GPUs.
    pub hardware: &'e HardwareBook,
    /// The specification that comes nearest to this machine's processor.
    pub here: Option<&'e CpuSpec>,
    /// Name of this machine for people.
    pub here_name: &'e str,
}

/// Candidates and what was passed over.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    /// Machines with curves.
    pub list: Vec<Candidate>,
    /// Why there are none of a kind, or fewer.
    pub caveats: Vec<Caveat>,
}

impl Evidence<'_> {
    /// The facts of the model.
    #[must_use]
    pub fn model(&self) -> Option<&ModelSummary> {
        self.calibrations
            .first()
            .map(|calibration| &calibration.model)
    }

    fn cpu_calibration(&self) -> Option<&Calibration> {
        self.calibrations.iter().find(|c| c.device == Device::Cpu)
    }
}

/// One candidate per machine type, in its cheapest region; machines whose speed
/// cannot be told are passed over with a reason.
#[must_use]
pub fn from_offers(offers: &[&Offer], term: Term, evidence: &Evidence<'_>) -> Candidates {
    let mut found = Candidates::default();
    let Some(model) = evidence.model() else {
        return found;
    };
    let mut makers = Curves::new(evidence, model);
    let mut burstable = 0;
    for offer in cheapest(offers, term) {
        let Some(price) = offer.price(term) else {
            continue;
        };
        let kind = match OfferKind::of(offer) {
            OfferKind::Cpu => Kind::Cpu,
            OfferKind::Gpu => Kind::Gpu,
        };
        if kind == Kind::Cpu && !offer.sustains_full_load() {
            burstable += 1;
            continue;
        }
        let made = match kind {
            Kind::Cpu => makers.cpu(offer),
            Kind::Gpu => makers.gpu(offer),
        };
        let Some((speed_key, curves, hardware, memory)) = made else {
            continue;
        };
        found.list.push(Candidate {
            machine: Machine {
                provider: offer.provider.clone(),
                instance_type: offer.instance_type.clone(),
                region: offer.region.clone(),
                term,
                price: Some(price.per_hour),
                kind,
                hardware,
                memory,
                caveats: Vec::new(),
            },
            speed_key,
            curves,
        });
    }
    if burstable > 0 {
        found.caveats.push(Caveat::new(
            CaveatKind::Limit,
            format!("{burstable} burstable or shared-core machine types were passed over: they cannot carry a steady load at full speed"),
        ));
    }
    if model.class == ModelClass::TreeEnsemble {
        found.caveats.push(Caveat::new(
            CaveatKind::Limit,
            "no GPU was considered: ONNX Runtime has no GPU kernel for tree ensembles",
        ));
    }
    if evidence.cpu_calibration().is_some() && evidence.here.is_none() {
        found.caveats.push(
            Caveat::new(
                CaveatKind::Transferred,
                "this machine's processor is in no hardware profile, so nothing could be carried over to other CPUs",
            )
            .hint("calibrate on a machine of the kind in question"),
        );
    }
    found
}

/// The cheapest offer of each machine type, in a stable order.
fn cheapest<'o>(offers: &[&'o Offer], term: Term) -> Vec<&'o Offer> {
    let mut best = BTreeMap::<(&str, &str), &Offer>::new();
    for offer in offers {
        let Some(price) = offer.price(term) else {
            continue;
        };
        let slot = best
            .entry((offer.provider.as_str(), offer.instance_type.as_str()))
            .or_insert(offer);
        let held = slot
            .price(term)
            .map(|held| (held.per_hour, slot.region.as_str()));
        if held.is_none_or(|held| (price.per_hour, offer.region.as_str()) < held) {
            *slot = offer;
        }
    }
    best.into_values().collect()
}

/// Curves by what speed depends on, made once each.
struct Curves<'e> {
    evidence: &'e Evidence<'e>,
    model: &'e ModelSummary,
    measured: Vec<LatencyCurve>,
    made: BTreeMap<String, Arc<Vec<LatencyCurve>>>,
}

type Made = (String, Arc<Vec<LatencyCurve>>, String, Bytes);

impl<'e> Curves<'e> {
    fn new(evidence: &'e Evidence<'e>, model: &'e ModelSummary) -> Self {
        let measured = evidence
            .cpu_calibration()
            .and_then(|calibration| {
                LatencyCurve::from_calibration(calibration, &Source::Measured).ok()
            })
            .unwrap_or_default();
        Self {
            evidence,
            model,
            measured,
            made: BTreeMap::new(),
        }
    }

    fn cpu(&mut self, offer: &Offer) -> Option<Made> {
        let spec = self.evidence.hardware.cpu(offer.cpu.as_deref()?)?;
        let here = self.evidence.here?;
        let calibration = self.evidence.cpu_calibration()?;
        let key = format!("cpu {} {}", spec.name, offer.vcpus);
        let (measured, model) = (&self.measured, self.model);
        let curves = self.made.entry(key.clone()).or_insert_with(|| {
            let from = MeasuredOn {
                cpu: here,
                threads: calibration.fingerprint.usable_threads,
                name: self.evidence.here_name,
            };
            let target = CpuTarget {
                cpu: spec,
                vcpus: offer.vcpus,
            };
            Arc::new(to_cpu(measured, model, from, target))
        });
        if curves.is_empty() {
            return None;
        }
        let hardware = format!("{} vCPU {}", offer.vcpus, spec.microarchitecture);
        Some((key, Arc::clone(curves), hardware, offer.memory))
    }

    fn gpu(&mut self, offer: &Offer) -> Option<Made> {
        let part = offer.gpu.as_ref()?;
        if part.share.is_some() {
            // Part of a GPU is not as fast as a whole one, and how fast is not known.
            return None;
        }
        let spec = self.evidence.hardware.gpu(&part.name)?;
        let key = format!("gpu {} {}", spec.name, part.count);
        let model = self.model;
        let curves = self
            .made
            .entry(key.clone())
            .or_insert_with(|| Arc::new(to_gpu(model, spec, part.count).into_iter().collect()));
        if curves.is_empty() {
            return None;
        }
        let hardware = format!("{} × {}", part.count, spec.name);
        Some((key, Arc::clone(curves), hardware, part.memory))
    }
}

/// This machine, from its own measurements: one candidate per device.
#[must_use]
pub fn here(evidence: &Evidence<'_>, price: Option<UsdPerHour>) -> Vec<Candidate> {
    evidence
        .calibrations
        .iter()
        .filter_map(|calibration| {
            let curves = LatencyCurve::from_calibration(calibration, &Source::Measured).ok()?;
            let (kind, hardware, memory) = match &calibration.device {
                Device::Cpu => (
                    Kind::Cpu,
                    format!(
                        "{} threads, {}",
                        calibration.machine.usable_threads(),
                        evidence.here_name
                    ),
                    calibration.machine.usable_memory(),
                ),
                Device::Cuda { index, name } => (
                    Kind::Gpu,
                    name.clone(),
                    calibration
                        .machine
                        .gpus
                        .devices()
                        .iter()
                        .find(|gpu| gpu.cuda_index == *index)
                        .and_then(|gpu| gpu.memory_bytes.known().copied()),
                ),
            };
            Some(Candidate {
                machine: Machine {
                    provider: "here".to_owned(),
                    instance_type: "this machine".to_owned(),
                    region: "here".to_owned(),
                    term: Term::Owned,
                    price,
                    kind,
                    hardware,
                    memory: memory.unwrap_or_default(),
                    caveats: Vec::new(),
                },
                speed_key: format!("here {}", calibration.device),
                curves: Arc::new(curves),
            })
        })
        .collect()
}
