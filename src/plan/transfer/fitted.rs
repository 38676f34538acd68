//! What a fit leaves behind: a small file that people can read, from which all
//! predictions are made at run time.

use super::{
    bench::{Benchmarks, SourceFile},
    cloud::{CpuForm, Regime, Run, runs},
    conformal::{HeldOut, LEVEL},
    evaluate::{
        Case, Origin, Out, cloud_cases, design_cases, device_cases, form_cases, stack_disagreement,
    },
    evidence::{self, Published},
    image::convolution_balance,
    linear::quantile,
    powers::{GpuPowers, ratios},
    tables::{EAGER, GpuForm, Measured, Path, StackFactor, measured, onnxruntime_factor},
};
use crate::{
    error::{Error, Result},
    profile::{hardware_book::HardwareBook, toml_text::TomlText},
};
use serde::{Deserialize, Serialize};

/// The version of the file format.
pub const SCHEMA: u32 = 1;

static SHIPPED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/profiles/fitted/speed.toml"
));

/// What was learnt from published measurements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitted {
    /// Version of the file format.
    pub schema: u32,
    /// The day of the fit, as `YYYY-MM-DD`.
    pub fitted_on: String,
    /// GPUs.
    pub gpu: GpuFit,
    /// Processors.
    pub cpu: CpuFit,
    /// The files that it rests on.
    pub source: Vec<SourceFile>,
    /// What published systems reached.
    pub published: Vec<Published>,
}

/// What was learnt of GPUs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuFit {
    /// Rows of the tables behind `single`.
    pub rows: usize,
    /// GPUs in the tables behind `single`.
    pub devices: Vec<String>,
    /// Single precision, as TF32 on tensor cores where the GPU has them;
    /// frameworks that launch kernel by kernel.
    pub single: GpuForm,
    /// ONNX Runtime's CUDA provider against such a framework.
    pub onnxruntime: StackFactor,
    /// From one GPU to another at large batches.
    pub powers: GpuPowers,
    /// Half widths of 90 % intervals of log time.
    pub half_width: GpuHalfWidths,
}

/// Half widths of 90 % intervals of log time on GPUs: conformal quantiles of what
/// was held out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuHalfWidths {
    /// A network that was never measured on a GPU of the tables.
    pub new_network: f64,
    /// A network of the tables on a GPU that is not in them.
    pub new_device: f64,
    /// Neither is in the tables.
    pub both_new: f64,
    /// The same network on the same GPU in another framework.
    pub other_stack: f64,
    /// From a time measured on one GPU to another GPU.
    pub carried: f64,
}

/// What was learnt of processors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuFit {
    /// Runs that are bound by arithmetic.
    pub arithmetic: CpuForm,
    /// Runs that are bound by memory.
    pub memory: CpuForm,
    /// Half width of the 90 % interval of log time, machines of one design with
    /// the same number of cores.
    pub same_design: f64,
    /// The same between designs.
    pub other_design: f64,
}

impl Fitted {
    /// What the program ships.
    ///
    /// # Errors
    /// None, unless the program was built from a broken file (a test sees to that).
    pub fn shipped() -> Result<Self> {
        Self::load(TomlText::new("speed.toml", SHIPPED))
    }

    /// Reads a file that a fit has written.
    ///
    /// # Errors
    /// What is not of this format, with its line; figures that no fit gives.
    pub fn load(text: TomlText<'_>) -> Result<Self> {
        let fitted: Self =
            text.parse_version("fitted files", SCHEMA, |fitted: &Self| fitted.schema)?;
        let figures = fitted.figures();
        if let Some((name, value)) = figures
            .iter()
            .find(|(_, v)| !(v.is_finite() && (0.0..1e3).contains(v)))
        {
            return Err(Error::bad_input(format!(
                "{}: `{name}` is {value}, which no fit gives",
                text.name
            ))
            .hint("write the file anew with `advisor fit-hardware`"));
        }
        Ok(fitted)
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        let (form, wide) = (&self.gpu.single, &self.gpu.half_width);
        vec![
            ("convolution_arithmetic", form.convolution_arithmetic),
            ("matrix_arithmetic", form.matrix_arithmetic),
            ("convolution_memory", form.convolution_memory),
            ("matrix_memory", form.matrix_memory),
            ("weights", form.weights),
            ("launch_s", form.launch_s),
            ("constant_s", form.constant_s),
            ("onnxruntime.fixed", self.gpu.onnxruntime.fixed),
            ("onnxruntime.work", self.gpu.onnxruntime.work),
            ("new_network", wide.new_network),
            ("new_device", wide.new_device),
            ("both_new", wide.both_new),
            ("other_stack", wide.other_stack),
            ("onnxruntime.half_width", self.gpu.onnxruntime.half_width),
            ("carried", wide.carried),
            ("same_design", self.cpu.same_design),
            ("other_design", self.cpu.other_design),
        ]
    }

    /// The file that [`Fitted::load`] reads.
    ///
    /// # Errors
    /// None that is known: all values can be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        let body = toml::to_string(self)
            .map_err(|error| Error::machine(format!("the fit cannot be written: {error}")))?;
        Ok(format!("{HEAD}{body}"))
    }
}

/// What the file says of itself.
const HEAD: &str = "\
# Speed of hardware, fitted to published measurements: written by `advisor
# fit-hardware`, not by hand.
#
# Seconds of a batch on a GPU = kernels x launch_s + constant_s + FLOPs x batch /
# peak x arithmetic + bytes x batch / bandwidth x memory + bytes of the weights /
# bandwidth x weights. Time on a processor falls with cores^few_cores up to
# eight, with ^many_cores beyond, with the single-precision rate of a core and
# with memory bandwidth. Half widths are of the logarithm of time: 0.5 is from
# /1.65 to x1.65; they are 90 % quantiles of errors on models and devices that
# were held out. The rows are listed with their licences in
# tests/data/bench/README.md; the exponents of processors were learnt on Spare Cores
# Inspector data (sparecores.com, CC BY-SA 4.0).

";

/// Learns everything anew from published measurements. `fitted_on` is the day,
/// as `YYYY-MM-DD`.
///
/// # Errors
/// Too few rows to learn from.
pub fn fit(bench: &Benchmarks, hardware: &HardwareBook, fitted_on: &str) -> Result<Fitted> {
    let half_width = |cases: &[Case], what: &str| {
        let held: Vec<HeldOut> = cases.iter().map(|case| case.held.clone()).collect();
        super::conformal::factor(held.iter())
            .map(short)
            .ok_or_else(|| {
                Error::bad_input(format!(
                    "too few rows to tell how wrong predictions are: {what}"
                ))
            })
    };
    let balance = convolution_balance(&bench.images, hardware);
    let form = |out| form_cases(bench, hardware, (Path::Single, out));
    let eager: Vec<Measured<'_>> = measured(bench, hardware, Path::Single)
        .into_iter()
        .filter(|row| EAGER.contains(&row.row.stack.as_str()))
        .collect();
    let mut devices: Vec<String> = eager.iter().map(|row| row.gpu.name.clone()).collect();
    devices.sort();
    devices.dedup();
    let disagreement: Vec<f64> = stack_disagreement(bench)
        .iter()
        .map(|log| log.abs())
        .collect();
    let stack = onnxruntime_factor(&measured(bench, hardware, Path::Half), balance);
    let (Some(stack), Some(other_stack)) = (stack, quantile(&disagreement, LEVEL)) else {
        return Err(Error::bad_input(
            "too few rows that two stacks have in common",
        ));
    };
    let gpu = GpuFit {
        rows: eager.len(),
        devices,
        single: GpuForm::fit(&eager, balance).rounded(),
        onnxruntime: StackFactor {
            fixed: short(stack.fixed),
            work: short(stack.work),
            rows: stack.rows,
            half_width: short(stack.half_width),
        },
        powers: GpuPowers::fit(ratios(bench, hardware).iter()).rounded(),
        half_width: GpuHalfWidths {
            new_network: half_width(&form(Out::Network), "networks on GPUs")?,
            new_device: half_width(&form(Out::Device), "GPUs")?,
            both_new: half_width(&form(Out::Both), "networks on other GPUs")?,
            other_stack: short(other_stack),
            carried: half_width(&device_cases(bench, hardware), "GPU to GPU")?,
        },
    };
    let cpu_form = |regime| {
        let all = runs(&bench.cloud, hardware, regime);
        CpuForm::fit(&all.iter().collect::<Vec<&Run<'_>>>(), regime).rounded()
    };
    let same = cloud_cases(bench, hardware, (Regime::Arithmetic, Origin::SameDesign));
    let cpu = CpuFit {
        arithmetic: cpu_form(Regime::Arithmetic),
        memory: cpu_form(Regime::Memory),
        same_design: half_width(&same, "processors of one design")?,
        // Of the very form that plans use, which no other split with single precision is of.
        other_design: half_width(
            &design_cases(bench, hardware),
            "processors of other designs",
        )?,
    };
    Ok(Fitted {
        schema: SCHEMA,
        fitted_on: fitted_on.to_owned(),
        gpu,
        cpu,
        source: bench.sources.clone(),
        published: evidence::published(bench),
    })
}

/// Four significant digits, so that the file can be read.
pub(super) fn short(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    format!("{value:.3e}").parse().unwrap_or(value)
}
