//! Service times on a GPU, from what the model asks and what published tables
//! say of GPUs.

use super::{Element, Predicted, Prediction, UNLIKE_ANY, Work, WorkKind};
use crate::{
    estimate::{Estimate, Source},
    plan::transfer::{
        conformal::LEVEL,
        evidence::Published,
        fitted::Fitted,
        tables::{Demand, Path},
    },
    profile::{hardware::GpuSpec, hardware_book::HardwareBook},
    units::{Fraction, Time},
};

/// What an estimate for a GPU rests on.
enum Ground<'f> {
    /// A published curve of the same work on this GPU.
    Curve(&'f Published),
    /// The formula, corrected by curves of the same work on other GPUs.
    Elsewhere(Vec<(&'f Published, &'f GpuSpec)>),
    /// The formula alone.
    Formula,
}

impl Fitted {
    /// Service times of a model on a GPU through ONNX Runtime's CUDA provider;
    /// none for other vendors' devices, which it does not run on, for a model
    /// that takes no batch, and for weights that are not in single precision: what
    /// was learnt is of that alone.
    ///
    /// No published table is of exactly that stack in single precision, so the
    /// interval is widened by how far two frameworks disagree on the same network.
    #[must_use]
    pub fn on_gpu(
        &self,
        work: &Work,
        gpu: &GpuSpec,
        hardware: &HardwareBook,
    ) -> Option<Prediction> {
        if gpu.vendor != "nvidia" || work.element != Element::Single {
            return None;
        }
        let known = self.gpu.devices.contains(&gpu.name);
        let same: Vec<(&Published, &GpuSpec)> = self
            .published
            .iter()
            .filter(|row| row.is_curve() && row.is_same_work(work))
            .filter_map(|row| Some((row, hardware.gpu(&row.device)?)))
            .collect();
        let here = same.iter().find(|(row, _)| row.device == gpu.name);
        let (ground, own) = match here {
            Some((curve, _)) => (Ground::Curve(curve), self.gpu.half_width.other_stack),
            None if !same.is_empty() => (Ground::Elsewhere(same), self.gpu.half_width.new_device),
            None if known => (Ground::Formula, self.gpu.half_width.new_network),
            None => (Ground::Formula, self.gpu.half_width.both_new),
        };
        let unlike = if work.kind == WorkKind::Other {
            UNLIKE_ANY
        } else {
            1.0
        };
        let half = own.hypot(self.gpu.onnxruntime.half_width) * unlike;
        let evidence = self.gpu_sentence(&ground, work, gpu);
        let source = Source::Transferred {
            from: evidence.clone(),
        };
        let mut times: Vec<(u32, f64)> = work
            .batch_sizes()
            .filter_map(|batch| {
                let seconds = self.gpu_seconds(&ground, (work, gpu), f64::from(batch))?;
                Some((batch, seconds))
            })
            .collect();
        // Published curves have dents; a smaller batch could always be padded.
        let mut least = f64::INFINITY;
        for (_, seconds) in times.iter_mut().rev() {
            least = least.min(*seconds);
            *seconds = least;
        }
        let points: Vec<Predicted> = times
            .into_iter()
            .map(|(batch_size, seconds)| {
                let time = Time::saturating(seconds);
                let ends = (time.scaled((-half).exp()), time.scaled(half.exp()));
                Predicted {
                    batch_size,
                    busy: Estimate::new(time, ends, Fraction::saturating(LEVEL), source.clone()),
                    alone: time,
                }
            })
            .collect();
        (!points.is_empty()).then_some(Prediction { points, evidence })
    }

    fn gpu_seconds(
        &self,
        ground: &Ground<'_>,
        (work, gpu): (&Work, &GpuSpec),
        batch: f64,
    ) -> Option<f64> {
        let stack = &self.gpu.onnxruntime;
        let formula = |gpu: &GpuSpec| {
            let demand = demand(work);
            self.gpu.single.parts(&demand, (Path::Single, gpu), batch)
        };
        let (fixed, rest) = formula(gpu);
        // The tables that have both stacks are of matrix products; convolutions run in
        // the same cuDNN kernels, and nothing was published that says otherwise.
        let slower = if work.kind.is_convolutional() {
            1.0
        } else {
            stack.work
        };
        let planned = fixed * stack.fixed + rest * slower;
        let sum = (fixed + rest).max(1e-9);
        match ground {
            // The share of launches in a measured time is taken from the formula.
            Ground::Curve(curve) => Some(curve.seconds(batch)? * planned / sum),
            Ground::Elsewhere(curves) => {
                let away: Vec<f64> = curves
                    .iter()
                    .filter_map(|(curve, gpu)| {
                        let (fixed, rest) = formula(gpu);
                        Some((curve.seconds(batch)? / (fixed + rest).max(1e-9)).ln())
                    })
                    .collect();
                let mean = away.iter().sum::<f64>() / away.len().max(1) as f64;
                Some(planned * mean.exp())
            }
            Ground::Formula => Some(planned),
        }
    }

    fn gpu_sentence(&self, ground: &Ground<'_>, work: &Work, gpu: &GpuSpec) -> String {
        let rows = self.gpu.rows;
        let mut text = match ground {
            Ground::Curve(curve) => curve.sentence(),
            Ground::Elsewhere(curves) => {
                let first = curves
                    .first()
                    .map_or_else(String::new, |(curve, _)| curve.sentence());
                let more = match curves.len() {
                    0 | 1 => String::new(),
                    n => format!(" and {} more curves of the same work", n - 1),
                };
                format!(
                    "{first}{more}; carried to {} by the formula over {rows} published rows",
                    gpu.name
                )
            }
            Ground::Formula => {
                format!(
                    "FLOPs, bytes and operators by the formula over {rows} published rows of {}",
                    self.gpu.devices.join(", ")
                )
            }
        };
        let class = if work.kind.is_convolutional() {
            "conv"
        } else {
            "transformer"
        };
        let best = |row: &&Published| row.precision == "best" && row.device == gpu.name;
        let reached = self
            .published
            .iter()
            .filter(best)
            .find(|row| row.is_same_work(work))
            .map(|row| format!("; the same work with tuned software: {}", row.sentence()))
            .or_else(|| {
                let apart = |row: &Published| (row.gflop * 1e9 / work.flops.get()).ln().abs();
                let like = self
                    .published
                    .iter()
                    .filter(best)
                    .filter(|row| row.class == class && row.gflop > 0.0)
                    .min_by(|a, b| apart(a).total_cmp(&apart(b)))?;
                Some(format!(
                    "; nearest of its class with tuned software: {}",
                    like.sentence()
                ))
            });
        text.push_str(&reached.unwrap_or_default());
        text
    }

    /// Carries service times measured on one GPU to another by powers of bandwidth
    /// and single-precision peak; none for other vendors' devices.
    #[must_use]
    pub fn gpu_to_gpu(
        &self,
        measured: &[(u32, Time)],
        from: &GpuSpec,
        to: &GpuSpec,
    ) -> Option<Prediction> {
        if from.vendor != "nvidia" || to.vendor != "nvidia" || measured.is_empty() {
            return None;
        }
        let ratio = self.gpu.powers.log_ratio(from, to).exp();
        let half = if from.name == to.name {
            0.0
        } else {
            self.gpu.half_width.carried
        };
        let evidence = format!(
            "measured on {}; carried to {} by bandwidth and single-precision peak, as timm's and NVIDIA's tables show",
            from.name, to.name
        );
        let source = Source::Transferred {
            from: evidence.clone(),
        };
        // Launches do not get faster: what a batch of one takes beyond its share of
        // the largest batch stays as it is.
        let largest = measured.iter().max_by_key(|(batch, _)| *batch)?;
        let per_item = largest.1.get() / f64::from(largest.0.max(1));
        let points = measured
            .iter()
            .map(|(batch_size, time)| {
                let work = (per_item * f64::from(*batch_size)).min(time.get());
                let there = Time::saturating(time.get() - work + work * ratio);
                let ends = (there.scaled((-half).exp()), there.scaled(half.exp()));
                Predicted {
                    batch_size: *batch_size,
                    busy: Estimate::new(there, ends, Fraction::saturating(LEVEL), source.clone()),
                    alone: there,
                }
            })
            .collect();
        Some(Prediction { points, evidence })
    }
}

fn demand(work: &Work) -> Demand {
    Demand {
        convolutions: work.kind.is_convolutional(),
        flops: work.flops.get(),
        bytes: work.moved_bytes(),
        weights: work.weight_bytes.get() as f64,
        kernels: work.kernels(),
    }
}
