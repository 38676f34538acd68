//! The machines that come into question, each with the curves of the model on it.

use crate::{
    caveat::{Caveat, CaveatKind},
    estimate::Source,
    plan::{
        latency::{
            LatencyCurve,
            transfer::{MeasuredOn, Processor, gpu_to_gpu, on_gpus, to_cpu, to_gpu, work},
        },
        pricing::{Offer, OfferKind, Term},
        transfer::{Element, Fitted},
    },
    profile::{
        calibration::{Calibration, Device, ModelClass, ModelSummary},
        hardware::{CpuSpec, GpuSpec},
        hardware_book::HardwareBook,
        import::is_brought_in,
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
    /// Calibrations of the same model that were taken on other machines: they take
    /// the place of what would be carried over, and never pass for measured here.
    pub elsewhere: &'e [Calibration],
    /// What was learnt from published measurements.
    pub fitted: &'e Fitted,
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

    /// Those taken elsewhere first: they are there because somebody wanted them used.
    fn all(&self) -> impl Iterator<Item = &Calibration> {
        self.elsewhere.iter().chain(self.calibrations)
    }

    /// The calibration that was taken on this very machine type.
    fn taken_on(&self, offer: &Offer, kind: Kind) -> Option<&Calibration> {
        self.all().find(|calibration| {
            let on_cpu = calibration.device == Device::Cpu;
            on_cpu == (kind == Kind::Cpu)
                && calibration.machine_type.as_deref().is_some_and(|taken| {
                    taken.split_once('/') == Some((&offer.provider, &offer.instance_type))
                })
        })
    }

    /// The GPU calibrations whose device the hardware book knows.
    fn gpu_calibrations(&self) -> impl Iterator<Item = (&Calibration, &GpuSpec)> {
        self.all()
            .filter_map(|calibration| match &calibration.device {
                Device::Cuda { name, .. } => {
                    Some((calibration, self.hardware.gpu_by_nvml_name(name)?))
                }
                Device::Cpu => None,
            })
    }
}

/// Where a calibration that was taken elsewhere comes from, for people.
fn elsewhere(calibration: &Calibration) -> Source {
    let machine = calibration
        .machine_type
        .clone()
        .or_else(|| match &calibration.device {
            Device::Cuda { name, .. } => Some(name.clone()),
            Device::Cpu => calibration.machine.cpu.model.known().cloned(),
        })
        .unwrap_or_else(|| "another machine".to_owned());
    let day = calibration.taken_at.get(..10).unwrap_or_default();
    Source::MeasuredElsewhere {
        machine: format!(
            "{machine} on {day}, fingerprint {}",
            calibration.fingerprint.short()
        ),
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
    if work(model).element != Element::Single && evidence.gpu_calibrations().next().is_none() {
        found.caveats.push(
            Caveat::new(
                CaveatKind::Limit,
                "no GPU was considered: the weights are not in single precision, and what was published of other number formats ran on other software",
            )
            .hint("calibrate on a machine with a GPU and bring the result in with `advisor profiles import`"),
        );
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
    /// CPU calibrations that can be carried over; this machine's first.
    bases: Vec<Base<'e>>,
    /// GPU calibrations with their curves.
    gpus: Vec<(&'e Calibration, &'e GpuSpec, Vec<LatencyCurve>)>,
    made: BTreeMap<String, Arc<Vec<LatencyCurve>>>,
}

/// A CPU calibration with what carrying it over needs.
struct Base<'e> {
    cpu: &'e CpuSpec,
    threads: u32,
    name: String,
    curves: Vec<LatencyCurve>,
}

type Made = (String, Arc<Vec<LatencyCurve>>, String, Bytes);

impl<'e> Curves<'e> {
    fn new(evidence: &'e Evidence<'e>, model: &'e ModelSummary) -> Self {
        let base = |calibration: &Calibration, cpu: Option<&'e CpuSpec>, name: &str| {
            Some(Base {
                cpu: cpu?,
                threads: calibration.fingerprint.usable_threads,
                name: name.to_owned(),
                curves: LatencyCurve::from_calibration(calibration, &Source::Measured).ok()?,
            })
        };
        let here = evidence
            .cpu_calibration()
            .and_then(|calibration| base(calibration, evidence.here, evidence.here_name));
        let others = evidence
            .elsewhere
            .iter()
            .filter(|calibration| calibration.device == Device::Cpu)
            .filter(|calibration| !is_brought_in(calibration))
            .filter_map(|calibration| {
                let cpu = evidence.hardware.nearest_cpu(&calibration.machine);
                let name = calibration.machine_type.as_deref();
                base(calibration, cpu, name.unwrap_or("another machine"))
            });
        Self {
            evidence,
            model,
            bases: here.into_iter().chain(others).collect(),
            gpus: evidence
                .gpu_calibrations()
                .filter_map(|(calibration, spec)| {
                    let source = elsewhere(calibration);
                    let curves = LatencyCurve::from_calibration(calibration, &source).ok()?;
                    Some((calibration, spec, curves))
                })
                .collect(),
            made: BTreeMap::new(),
        }
    }

    /// Curves under a key, made if they are not there yet.
    fn once(
        made: &mut BTreeMap<String, Arc<Vec<LatencyCurve>>>,
        key: &str,
        make: impl FnOnce() -> Vec<LatencyCurve>,
    ) -> Option<Arc<Vec<LatencyCurve>>> {
        let curves = if let Some(curves) = made.get(key) {
            Arc::clone(curves)
        } else {
            let curves = Arc::new(make());
            made.insert(key.to_owned(), Arc::clone(&curves));
            curves
        };
        (!curves.is_empty()).then_some(curves)
    }

    fn cpu(&mut self, offer: &Offer) -> Option<Made> {
        let evidence = self.evidence;
        let spec = evidence.hardware.cpu(offer.cpu.as_deref()?)?;
        let hardware = format!("{} vCPU {}", offer.vcpus, spec.microarchitecture);
        if let Some(taken) = evidence.taken_on(offer, Kind::Cpu) {
            let key = format!("measured {}/{}", offer.provider, offer.instance_type);
            let curves = Self::once(&mut self.made, &key, || {
                LatencyCurve::from_calibration(taken, &elsewhere(taken)).unwrap_or_default()
            })?;
            return Some((key, curves, hardware, offer.memory));
        }
        let same = |base: &&Base<'_>| base.cpu.microarchitecture == spec.microarchitecture;
        let base = self
            .bases
            .iter()
            .filter(same)
            .min_by_key(|base| base.threads.abs_diff(offer.vcpus))
            .or_else(|| self.bases.first())?;
        let (fitted, model) = (evidence.fitted, self.model);
        let key = format!("cpu {} {}", spec.name, offer.vcpus);
        let curves = Self::once(&mut self.made, &key, || {
            let from = MeasuredOn {
                cpu: base.cpu,
                threads: base.threads,
                name: &base.name,
                curves: &base.curves,
            };
            let target = Processor {
                cpu: spec,
                vcpus: offer.vcpus,
            };
            to_cpu(fitted, model, from, target)
        })?;
        Some((key, curves, hardware, offer.memory))
    }

    fn gpu(&mut self, offer: &Offer) -> Option<Made> {
        let part = offer.gpu.as_ref()?;
        if part.share.is_some() {
            // Part of a GPU is not as fast as a whole one, and how fast is not known.
            return None;
        }
        let evidence = self.evidence;
        let spec = evidence.hardware.gpu(&part.name)?;
        let hardware = format!("{} × {}", part.count, spec.name);
        let taken = evidence.taken_on(offer, Kind::Gpu);
        let measured = self
            .gpus
            .iter()
            .find(|(calibration, _, _)| taken.is_some_and(|t| std::ptr::eq(t, *calibration)))
            .or_else(|| {
                self.gpus.iter().find(|(calibration, from, _)| {
                    from.name == spec.name && !is_brought_in(calibration)
                })
            });
        let key = match taken {
            Some(_) => format!("measured {}/{}", offer.provider, offer.instance_type),
            None => format!("gpu {} {}", spec.name, part.count),
        };
        let model = self.model;
        let first = self
            .gpus
            .iter()
            .find(|(calibration, _, _)| !is_brought_in(calibration));
        let curves = Self::once(&mut self.made, &key, || match (measured, first) {
            (Some((calibration, _, curves)), _) => {
                on_gpus(curves, part.count, &elsewhere(calibration))
            }
            (None, Some((_, from, curves))) => {
                gpu_to_gpu(evidence.fitted, (curves, from), (spec, part.count))
                    .into_iter()
                    .collect()
            }
            (None, None) => to_gpu(
                (evidence.fitted, evidence.hardware),
                model,
                (spec, part.count),
            )
            .into_iter()
            .collect(),
        })?;
        Some((key, curves, hardware, part.memory))
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
