//! Sessions: one loaded model that can run one batch at a time.

use super::cores::affinities;
use crate::{
    error::{Error, Result},
    model::{InputSpec, TensorValues},
    profile::calibration::{Device, NodePlacement},
};
use ort::{
    environment::Environment,
    ep::{self, ExecutionProvider},
    logging::LogLevel,
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    session::{
        IoBinding, Session as OrtSession, SessionInputValue,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{DynTensor, Tensor},
};
use std::{
    borrow::Cow,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// The process's one environment; a second library cannot be loaded beside it.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Loads the library (once per process) and returns the environment of all sessions.
///
/// Only a library that [`super::inspect()`] has passed should come here: loading
/// runs native code.
///
/// # Errors
/// The library cannot be loaded or is too old.
pub fn environment(library: &Path) -> Result<Environment> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = slot.as_ref() {
        return Ok(environment.clone());
    }
    // `init_from` reports a library that cannot be loaded; plain `init` would panic.
    let environment = ort::init_from(library)
        .map_err(|error| Error::machine(format!("`{}`: {error}", library.display())))?
        .with_name("advisor")
        .with_telemetry(false)
        .build()
        .map_err(|error| Error::machine(format!("ONNX Runtime does not start: {error}")))?;
    environment.set_log_level(LogLevel::Error);
    *slot = Some(environment.clone());
    Ok(environment)
}

/// The execution providers compiled into the loaded library, among those that
/// users ask for. Call after [`environment`].
#[must_use]
pub fn available_providers() -> Vec<String> {
    macro_rules! available {
        ($($name:literal),*) => {
            [$({
                /// Only asked whether it is there; never registered.
                struct Provider;
                impl ExecutionProvider for Provider {
                    const NAME: &'static str = $name;
                    fn register(&self, _: &mut SessionBuilder) -> ort::Result<()> {
                        Err(ort::Error::new("not meant to be registered"))
                    }
                }
                Provider::is_available().unwrap_or(false).then(|| $name.to_owned())
            }),*]
        };
    }
    available!(
        "TensorrtExecutionProvider",
        "NvTensorRTRTXExecutionProvider",
        "CUDAExecutionProvider",
        "ROCMExecutionProvider",
        "MIGraphXExecutionProvider",
        "OpenVINOExecutionProvider",
        "DmlExecutionProvider",
        "CoreMLExecutionProvider",
        "DnnlExecutionProvider",
        "XnnpackExecutionProvider",
        "AzureExecutionProvider",
        "CPUExecutionProvider"
    )
    .into_iter()
    .flatten()
    .collect()
}

/// What decides how a session runs.
#[derive(Debug, Clone)]
pub struct SessionOptions<'o> {
    /// Where.
    pub device: &'o Device,
    /// Threads inside one operator.
    pub intra_op_threads: u32,
    /// Whether idle threads spin.
    pub spinning: bool,
    /// The cores of its threads, the calling one first; empty leaves them to the
    /// scheduler.
    pub cores: &'o [u32],
    /// Where to write a profile of the nodes, if wanted: slows the session down.
    pub profile_prefix: Option<&'o Path>,
}

/// One loaded model.
#[derive(Debug)]
pub struct Session {
    inner: OrtSession,
}

/// Inputs in the runtime's own form, ready to be run many times.
#[derive(Debug)]
pub struct PreparedInputs {
    tensors: Vec<(String, DynTensor)>,
}

/// Which ends of a run stay on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Index of the CUDA device.
    pub device: u32,
    /// The inputs are there already.
    pub inputs_on_device: bool,
    /// The outputs are left there.
    pub outputs_on_device: bool,
}

/// Inputs and outputs tied to places in memory (`OrtIoBinding`).
#[derive(Debug)]
pub struct BoundRun {
    binding: IoBinding,
}

fn listed(inputs: &PreparedInputs) -> Vec<(Cow<'_, str>, SessionInputValue<'_>)> {
    inputs
        .tensors
        .iter()
        .map(|(name, tensor)| {
            (
                Cow::Borrowed(name.as_str()),
                SessionInputValue::from(tensor),
            )
        })
        .collect()
}

impl Session {
    /// Loads a model with all graph optimisations.
    ///
    /// # Errors
    /// What ONNX Runtime says of the file; for a GPU, what is missing and what
    /// to install.
    pub fn load(
        environment: &Environment,
        model: &Path,
        options: &SessionOptions<'_>,
    ) -> Result<Self> {
        Self::build(environment, model, options).map_err(|error| match options.device {
            Device::Cpu => Error::machine(format!(
                "ONNX Runtime refuses `{}`: {}",
                model.display(),
                error.message()
            )),
            Device::Cuda { .. } => explain_cuda(error.message()),
        })
    }

    fn build(
        environment: &Environment,
        model: &Path,
        options: &SessionOptions<'_>,
    ) -> ort::Result<Self> {
        let mut builder = OrtSession::builder(environment)?
            .with_optimization_level(GraphOptimizationLevel::Level3)?
            .with_intra_threads(options.intra_op_threads.max(1) as usize)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(options.spinning)?
            .with_log_level(LogLevel::Error)?;
        if let Some(affinities) = affinities(options.cores) {
            builder =
                builder.with_config_entry("session.intra_op_thread_affinities", affinities)?;
        }
        if let Device::Cuda { index, .. } = options.device {
            // Without `error_on_failure` a missing provider is passed over in
            // silence and the model runs on the CPU.
            builder = builder.with_execution_providers([ep::CUDA::default()
                .with_device_id(i32::try_from(*index).unwrap_or(i32::MAX))
                .build()
                .error_on_failure()])?;
        }
        if let Some(prefix) = options.profile_prefix {
            builder = builder.with_profiling(prefix)?;
        }
        Ok(Self {
            inner: builder.commit_from_file(model)?,
        })
    }

    /// Generates inputs and brings them into the runtime's form.
    ///
    /// # Errors
    /// A shape or an element type that the runtime does not take.
    pub fn prepare(specs: &[InputSpec], seed: u64) -> Result<PreparedInputs> {
        let tensors = specs
            .iter()
            .map(|spec| {
                tensor(&spec.dims, spec.values(seed))
                    .map(|tensor| (spec.name.clone(), tensor))
                    .map_err(|error| Error::machine(format!("input `{}`: {error}", spec.name)))
            })
            .collect::<Result<_>>()?;
        Ok(PreparedInputs { tensors })
    }

    /// Runs one batch and waits for all outputs to be on the host.
    ///
    /// # Errors
    /// What ONNX Runtime says.
    pub fn run(&mut self, inputs: &PreparedInputs) -> Result<()> {
        self.inner
            .run(listed(inputs))
            .map(drop)
            .map_err(|error| Error::machine(format!("the inference failed: {}", error.message())))
    }

    /// Runs values that came from elsewhere and brings the outputs out. Outputs
    /// of types other than numbers are left out.
    ///
    /// # Errors
    /// Values that do not fit, or what ONNX Runtime says.
    pub fn run_values(
        &mut self,
        inputs: Vec<(String, Vec<u64>, TensorValues)>,
    ) -> Result<Vec<(String, Vec<u64>, TensorValues)>> {
        let tensors = inputs
            .into_iter()
            .map(|(name, dims, values)| {
                tensor(&dims, values)
                    .map(|tensor| (name.clone(), tensor))
                    .map_err(|error| Error::bad_input(format!("input `{name}`: {error}")))
            })
            .collect::<Result<_>>()?;
        let prepared = PreparedInputs { tensors };
        let outputs = self.inner.run(listed(&prepared)).map_err(|error| {
            Error::machine(format!("the inference failed: {}", error.message()))
        })?;
        Ok(outputs
            .iter()
            .filter_map(|(name, value)| {
                let (dims, values) = extracted(&value)?;
                Some((name.to_owned(), dims, values))
            })
            .collect())
    }

    /// Does all that [`Session::run`] does before the runtime is called: what
    /// our side adds to an inference.
    pub fn only_list_inputs(inputs: &PreparedInputs) {
        std::hint::black_box(listed(inputs));
    }

    /// Readies a run whose inputs or outputs may stay on a CUDA device.
    ///
    /// # Errors
    /// The device cannot be used, or has too little memory.
    pub fn bind(&self, inputs: &PreparedInputs, ends: Ends) -> Result<BoundRun> {
        self.try_bind(inputs, ends)
            .map(|binding| BoundRun { binding })
            .map_err(|error| Error::machine(format!("cannot bind the inputs: {}", error.message())))
    }

    fn try_bind(&self, inputs: &PreparedInputs, ends: Ends) -> ort::Result<IoBinding> {
        let index = i32::try_from(ends.device).unwrap_or(i32::MAX);
        let place = |on_device: bool| {
            let (device, id) = if on_device {
                (AllocationDevice::CUDA, index)
            } else {
                (AllocationDevice::CPU, 0)
            };
            MemoryInfo::new(device, id, AllocatorType::Device, MemoryType::Default)
        };
        let mut binding = self.inner.create_binding()?;
        for (name, tensor) in &inputs.tensors {
            if ends.inputs_on_device {
                binding.bind_input(name, &tensor.to(AllocationDevice::CUDA, index)?)?;
            } else {
                binding.bind_input(name, tensor)?;
            }
        }
        let output = place(ends.outputs_on_device)?;
        for port in self.inner.outputs() {
            binding.bind_output_to_device(port.name(), &output)?;
        }
        Ok(binding)
    }

    /// Runs what was bound and waits for it. Inputs that were bound on the host
    /// are copied again, as for any request.
    ///
    /// # Errors
    /// What ONNX Runtime says.
    pub fn run_bound(
        &mut self,
        bound: &mut BoundRun,
        fresh: Option<&PreparedInputs>,
    ) -> Result<()> {
        let mut run = || -> ort::Result<()> {
            if let Some(inputs) = fresh {
                // Binding is what copies an input to the device.
                for (name, tensor) in &inputs.tensors {
                    bound.binding.bind_input(name, tensor)?;
                }
            }
            drop(self.inner.run_binding(&bound.binding)?);
            bound.binding.synchronize_outputs()
        };
        run().map_err(|error| Error::machine(format!("the inference failed: {}", error.message())))
    }

    /// Ends a profile that was asked for when the session was loaded and counts
    /// the nodes that each execution provider ran.
    ///
    /// # Errors
    /// The profile cannot be written or read.
    pub fn count_nodes(&mut self) -> Result<Vec<NodePlacement>> {
        let path = self.inner.end_profiling().map_err(|error| {
            Error::machine(format!("no profile of the nodes: {}", error.message()))
        })?;
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Error::machine(format!("no profile of the nodes in `{path}`: {error}"))
        })?;
        let _ = std::fs::remove_file(&path);
        nodes_by_provider(&text)
    }
}

/// Counts distinct nodes by provider in ONNX Runtime's profile, a JSON list of events.
fn nodes_by_provider(profile: &str) -> Result<Vec<NodePlacement>> {
    let events: Vec<serde_json::Value> = serde_json::from_str(profile).map_err(|error| {
        Error::machine(format!("the profile of the nodes is unreadable: {error}"))
    })?;
    let mut nodes = std::collections::BTreeMap::<String, std::collections::BTreeSet<String>>::new();
    for event in &events {
        let provider = event
            .pointer("/args/provider")
            .and_then(serde_json::Value::as_str);
        let name = event.get("name").and_then(serde_json::Value::as_str);
        if let (Some(provider), Some(name)) = (provider, name)
            && name.ends_with("_kernel_time")
        {
            let index = event
                .pointer("/args/node_index")
                .map_or_else(String::new, ToString::to_string);
            nodes
                .entry(provider.to_owned())
                .or_default()
                .insert(format!("{name} {index}"));
        }
    }
    Ok(nodes
        .into_iter()
        .map(|(provider, names)| NodePlacement {
            provider,
            nodes: names.len() as u32,
        })
        .collect())
}

/// A tensor that keeps its values for as long as it lives.
fn tensor(dims: &[u64], values: TensorValues) -> ort::Result<DynTensor> {
    let shape: Vec<i64> = dims
        .iter()
        .map(|&n| i64::try_from(n).unwrap_or(i64::MAX))
        .collect();
    Ok(match values {
        TensorValues::Float16(bits) => {
            let values: Vec<half::f16> = bits.into_iter().map(half::f16::from_bits).collect();
            Tensor::from_array((shape, values))?.upcast()
        }
        TensorValues::Bfloat16(bits) => {
            let values: Vec<half::bf16> = bits.into_iter().map(half::bf16::from_bits).collect();
            Tensor::from_array((shape, values))?.upcast()
        }
        TensorValues::Float32(values) => Tensor::from_array((shape, values))?.upcast(),
        TensorValues::Float64(values) => Tensor::from_array((shape, values))?.upcast(),
        TensorValues::Int64(values) => Tensor::from_array((shape, values))?.upcast(),
        TensorValues::Int32(values) => Tensor::from_array((shape, values))?.upcast(),
        TensorValues::Int16(values) => Tensor::from_array((shape, values))?.upcast(),
        TensorValues::Int8(values) => Tensor::from_array((shape, values))?.upcast(),
        TensorValues::Uint64(values) => Tensor::from_array((shape, values))?.upcast(),
        TensorValues::Uint32(values) => Tensor::from_array((shape, values))?.upcast(),
        TensorValues::Uint16(values) => Tensor::from_array((shape, values))?.upcast(),
        TensorValues::Uint8(values) => Tensor::from_array((shape, values))?.upcast(),
        TensorValues::Bool(values) => Tensor::from_array((shape, values))?.upcast(),
    })
}

/// Shape and values of a tensor of numbers.
fn extracted(value: &ort::value::ValueRef<'_>) -> Option<(Vec<u64>, TensorValues)> {
    macro_rules! extract {
        ($($kind:ident: $t:ty),*) => {
            $(if let Ok((shape, values)) = value.try_extract_tensor::<$t>() {
                let dims = shape.iter().map(|n| (*n).unsigned_abs()).collect();
                return Some((dims, TensorValues::$kind(values.to_vec())));
            })*
        };
    }
    extract!(
        Float32: f32, Int64: i64, Float64: f64, Int32: i32, Uint8: u8, Int8: i8, Bool: bool,
        Int16: i16, Uint16: u16, Uint32: u32, Uint64: u64
    );
    let (shape, values) = value.try_extract_tensor::<half::f16>().ok()?;
    let dims = shape.iter().map(|n| (*n).unsigned_abs()).collect();
    let bits = values.iter().map(|x| x.to_bits()).collect();
    Some((dims, TensorValues::Float16(bits)))
}

/// Turns a failure of the CUDA provider into what to install.
fn explain_cuda(said: &str) -> Error {
    let lower = said.to_lowercase();
    let error = Error::machine(format!(
        "the GPU was asked for, but ONNX Runtime cannot use it: {}",
        said.lines().next().unwrap_or(said)
    ));
    if lower.contains("not enabled in this build") {
        error.hint("this library is a CPU build: run `advisor runtime --fetch cuda`")
    } else if lower.contains("cudnn") {
        error.hint("cuDNN 9 for CUDA 13 is missing or of another version: `pip install nvidia-cudnn-cu13`, or put its folder on LD_LIBRARY_PATH")
    } else if lower.contains("out of memory") || lower.contains("failed to allocate") {
        error.hint("the device has too little free memory: end other programs on it or choose a smaller batch size")
    } else if lower.contains("libcu") || lower.contains("cannot open shared object") {
        error.hint("a CUDA library is missing: `pip install nvidia-cublas nvidia-cuda-runtime nvidia-cufft nvidia-curand nvidia-cudnn-cu13`, or put their folder on LD_LIBRARY_PATH")
    } else if lower.contains("insufficient") && lower.contains("driver") {
        error.hint("the driver is older than this build of CUDA needs: update the driver")
    } else {
        error.hint("`advisor probe` shows the driver and the devices, `advisor runtime` the library in use")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted_once_per_provider() {
        let profile = r#"[
            {"cat":"Session","name":"model_loading","args":{}},
            {"cat":"Node","name":"a_kernel_time","args":{"provider":"CPUExecutionProvider","node_index":"1"}},
            {"cat":"Node","name":"a_kernel_time","args":{"provider":"CPUExecutionProvider","node_index":"1"}},
            {"cat":"Node","name":"b_kernel_time","args":{"provider":"CUDAExecutionProvider","node_index":"2"}},
            {"cat":"Node","name":"b_fence_before","args":{"provider":"CUDAExecutionProvider","node_index":"2"}}
        ]"#;
        let counted = nodes_by_provider(profile).unwrap();
        let pairs: Vec<_> = counted
            .iter()
            .map(|n| (n.provider.as_str(), n.nodes))
            .collect();
        assert_eq!(
            pairs,
            [("CPUExecutionProvider", 1), ("CUDAExecutionProvider", 1)]
        );
        assert!(nodes_by_provider("[").is_err());
    }

    #[test]
    fn failures_of_the_cuda_provider_say_what_to_install() {
        let advice = |said: &str| explain_cuda(said).advice().unwrap_or_default().to_owned();
        assert!(
            advice("CUDA execution provider is not enabled in this build").contains("--fetch cuda")
        );
        assert!(advice("libcudnn.so.9: cannot open shared object file").contains("cudnn"));
        assert!(
            advice("libcublasLt.so.13: cannot open shared object file").contains("nvidia-cublas")
        );
        assert!(advice("CUDA failure 2: out of memory").contains("free memory"));
    }
}
