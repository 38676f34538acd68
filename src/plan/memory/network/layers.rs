//! Weights and the layers made of them, as the training policy stores them.

use std::collections::BTreeMap;

use super::super::tape::{
    Convolution, Dtype, Expanded, Kind, Matrix, Parameter, Tape, Tensor, Trained, Window,
};

/// How the weights are stored and which of them are trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Policy {
    /// Type of the weights (of those not stored in fewer bits).
    pub(in super::super) weights: Dtype,
    /// How the matrices inside the layers are stored.
    pub(in super::super) storage: Storage,
    /// Whether everything but the layers' matrices is kept in 32 bit (what
    /// `prepare_model_for_kbit_training` does).
    pub(in super::super) rest_in_float: bool,
    /// Whether the model's own weights are trained.
    pub(in super::super) trained: Trained,
    /// Low-rank adapters.
    pub(in super::super) adapters: Option<Adapters>,
}

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) enum Storage {
    /// As it is.
    Plain,
    /// In about `bits_per_weight`, expanded for each product.
    Packed {
        /// Bytes per weight, scales included.
        bytes_per_weight: f64,
        /// Bytes per number of a copy of each layer's input that is kept in
        /// training; 0 for none.
        keeps_input: u64,
    },
}

/// Low-rank adapters beside frozen matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Adapters {
    /// Rank.
    pub(in super::super) rank: u64,
    /// Which matrices get one.
    pub(in super::super) targets: Targets,
    /// Type of the adapters' weights.
    pub(in super::super) dtype: Dtype,
    /// Whether their input is dropped at random.
    pub(in super::super) dropout: bool,
}

/// Which matrices get an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) enum Targets {
    /// Queries and values (or the joint projection).
    QueryValue,
    /// Every matrix inside the layers.
    AllLinear,
    /// Every matrix, the output head too.
    AllLinearAndHead,
}

/// What a matrix does, so that adapters find their targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Role {
    /// Makes queries or values, or queries, keys and values together.
    QueryOrValue,
    /// Any other matrix inside the layers.
    Inner,
    /// The matrices of all experts of a block, in one piece: packed, never adapted.
    Expert,
    /// The output head.
    Head,
    /// Anything else: never adapted, never packed.
    Other,
}

impl Targets {
    const fn include(self, role: Role) -> bool {
        matches!(
            (self, role),
            (_, Role::QueryOrValue)
                | (Self::AllLinear | Self::AllLinearAndHead, Role::Inner)
                | (Self::AllLinearAndHead, Role::Head)
        )
    }
}

/// A linear layer with its adapter, if it has one.
#[derive(Debug, Clone)]
pub(in super::super) struct Linear {
    base: Matrix,
    adapter: Option<(Matrix, Matrix, Adapters)>,
}

/// Makes weights by the policy and counts them.
#[derive(Debug)]
pub(in super::super) struct Layers<'t> {
    /// The replay in which the weights live.
    pub(in super::super) tape: &'t mut Tape,
    policy: Policy,
    parameters: u64,
    trained: BTreeMap<Dtype, Vec<u64>>,
    trained_parameters: Vec<Parameter>,
    block_start: u64,
    largest_block: u64,
    blocks: u64,
    largest_matrix: u64,
}

/// What was made, in numbers.
#[derive(Debug)]
pub(in super::super) struct Made {
    /// Parameters of the model itself.
    pub(in super::super) parameters: u64,
    /// Sizes of the trained tensors, by type.
    pub(in super::super) trained: BTreeMap<Dtype, Vec<u64>>,
    /// The trained parameters.
    pub(in super::super) trained_parameters: Vec<Parameter>,
    /// Bytes of the weights of the largest block.
    pub(in super::super) largest_block: u64,
    /// Bytes of the weights outside the blocks.
    pub(in super::super) outside_blocks: u64,
    /// Elements of the largest matrix, the output head included.
    pub(in super::super) largest_matrix: u64,
}

impl<'t> Layers<'t> {
    /// Starts with no weights.
    pub(in super::super) fn new(tape: &'t mut Tape, policy: Policy) -> Self {
        tape.meter.charge_to(Kind::Weights);
        Self {
            tape,
            policy,
            parameters: 0,
            trained: BTreeMap::new(),
            trained_parameters: Vec::new(),
            block_start: 0,
            largest_block: 0,
            blocks: 0,
            largest_matrix: 0,
        }
    }

    /// Parameters of the model itself.
    pub(in super::super) const fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Says that what is made from now on is one block.
    pub(in super::super) fn block_starts(&mut self) {
        self.block_start = self.tape.meter.live();
    }

    /// Says that the block is complete.
    pub(in super::super) fn block_ends(&mut self) {
        let bytes = self.tape.meter.live().saturating_sub(self.block_start);
        self.largest_block = self.largest_block.max(bytes);
        self.blocks += bytes;
    }

    /// Ends the making of weights.
    pub(in super::super) fn finish(self) -> Made {
        let all = self.tape.meter.live();
        Made {
            parameters: self.parameters,
            trained: self.trained,
            trained_parameters: self.trained_parameters,
            largest_block: self.largest_block,
            outside_blocks: all.saturating_sub(self.blocks),
            largest_matrix: self.largest_matrix,
        }
    }

    fn parameter(&mut self, elements: u64, dtype: Dtype, trained: Trained) -> Parameter {
        let parameter = self.tape.parameter(elements, dtype, trained);
        if trained == Trained::Yes {
            self.trained.entry(dtype).or_default().push(elements);
            self.trained_parameters.push(parameter.clone());
        }
        parameter
    }

    fn rest_dtype(&self) -> Dtype {
        if self.policy.rest_in_float {
            Dtype::Float
        } else {
            self.policy.weights
        }
    }

    fn own(&mut self, elements: u64, dtype: Dtype) -> Parameter {
        self.parameters += elements;
        self.parameter(elements, dtype, self.policy.trained)
    }

    /// A vector: a bias or the weight of a normalisation.
    pub(in super::super) fn vector(&mut self, elements: u64) -> Parameter {
        let dtype = self.rest_dtype();
        self.own(elements, dtype)
    }

    /// A table of `rows` × `width`, looked up by row.
    pub(in super::super) fn table(&mut self, rows: u64, width: u64) -> Parameter {
        let dtype = self.rest_dtype();
        self.own(rows * width, dtype)
    }

    /// Memory that belongs to the weights but is no parameter.
    pub(in super::super) fn buffer(&mut self, elements: u64, dtype: Dtype) -> Tensor {
        self.tape.constant(elements, dtype)
    }

    /// A linear layer.
    pub(in super::super) fn linear(
        &mut self,
        role: Role,
        [inputs, outputs]: [u64; 2],
        bias: Bias,
    ) -> Linear {
        let elements = inputs * outputs;
        self.linear_of(role, elements, [inputs, outputs], bias)
    }

    /// The same linear layer of `count` experts.
    pub(in super::super) fn expert_linear(&mut self, count: u64, widths: [u64; 2]) -> Linear {
        self.linear_of(
            Role::Expert,
            count * widths[0] * widths[1],
            widths,
            Bias::No,
        )
    }

    fn linear_of(
        &mut self,
        role: Role,
        elements: u64,
        [inputs, outputs]: [u64; 2],
        bias: Bias,
    ) -> Linear {
        self.largest_matrix = self.largest_matrix.max(inputs * outputs);
        let inner = matches!(role, Role::QueryOrValue | Role::Inner | Role::Expert);
        let (weight, expanded) = match self.policy.storage {
            Storage::Packed {
                bytes_per_weight,
                keeps_input,
            } if inner => {
                self.parameters += elements;
                let bytes = (elements as f64 * bytes_per_weight).ceil() as u64;
                let weight = self.tape.parameter(bytes, Dtype::Bool, Trained::No);
                let expanded = Expanded {
                    dtype: self.policy.weights,
                    keeps_input,
                };
                (weight, Some(expanded))
            }
            _ => {
                let dtype = if inner {
                    self.policy.weights
                } else {
                    self.rest_dtype()
                };
                (self.own(elements, dtype), None)
            }
        };
        let bias = (bias == Bias::Yes).then(|| self.vector(outputs));
        let base = Matrix {
            weight,
            bias,
            inputs,
            outputs,
            expanded,
        };
        self.adapted(role, base)
    }

    /// A linear layer with bias that is trained whatever the policy says (a new
    /// classifier on a frozen model).
    pub(in super::super) fn trained_linear(&mut self, [inputs, outputs]: [u64; 2]) -> Linear {
        let dtype = self.rest_dtype();
        let [weight, bias] = [inputs * outputs, outputs].map(|elements| {
            self.parameters += elements;
            self.parameter(elements, dtype, Trained::Yes)
        });
        Linear {
            base: Matrix {
                weight,
                bias: Some(bias),
                inputs,
                outputs,
                expanded: None,
            },
            adapter: None,
        }
    }

    /// A convolution, of `outputs` feature maps from `inputs` in `groups`.
    pub(in super::super) fn convolution(
        &mut self,
        [inputs, outputs]: [u64; 2],
        window: Window,
        groups: u64,
        bias: Bias,
    ) -> Convolution {
        let elements = outputs * (inputs / groups.max(1)) * window.size * window.size;
        Convolution {
            weight: self.vector(elements),
            bias: (bias == Bias::Yes).then(|| self.vector(outputs)),
            outputs,
            window,
        }
    }

    /// Weight and bias of a batch normalisation, with its running statistics.
    pub(in super::super) fn batch_norm(&mut self, channels: u64) -> BatchNorm {
        let dtype = self.rest_dtype();
        BatchNorm {
            weights: [self.vector(channels), self.vector(channels)],
            _running: [
                self.buffer(2 * channels, dtype),
                self.buffer(1, Dtype::Long),
            ],
        }
    }

    /// A linear layer that shares `table` (tied embeddings).
    pub(in super::super) fn tied(
        &mut self,
        table: &Parameter,
        [inputs, outputs]: [u64; 2],
        bias: Bias,
    ) -> Linear {
        let bias = (bias == Bias::Yes).then(|| self.vector(outputs));
        let base = Matrix {
            weight: table.clone(),
            bias,
            inputs,
            outputs,
            expanded: None,
        };
        self.adapted(Role::Head, base)
    }

    fn adapted(&mut self, role: Role, base: Matrix) -> Linear {
        let adapter = self.policy.adapters.filter(|a| a.targets.include(role));
        let adapter = adapter.map(|adapters| {
            let [a, b] = [[base.inputs, adapters.rank], [adapters.rank, base.outputs]].map(
                |[inputs, outputs]| {
                    let elements = inputs * outputs;
                    Matrix {
                        weight: self.parameter(elements, adapters.dtype, Trained::Yes),
                        bias: None,
                        inputs,
                        outputs,
                        expanded: None,
                    }
                },
            );
            (a, b, adapters)
        });
        Linear { base, adapter }
    }
}

/// A batch normalisation with its weights and running statistics.
#[derive(Debug, Clone)]
pub(in super::super) struct BatchNorm {
    /// Weight and bias.
    pub(in super::super) weights: [Parameter; 2],
    _running: [Tensor; 2],
}

/// Whether a layer has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Bias {
    /// It has one.
    Yes,
    /// It has none.
    No,
}

impl Bias {
    /// From a flag of an architecture.
    pub(in super::super) const fn when(present: bool) -> Self {
        if present { Self::Yes } else { Self::No }
    }
}

impl Linear {
    /// Inputs per row.
    pub(in super::super) const fn inputs(&self) -> u64 {
        self.base.inputs
    }

    /// Applies the layer, its adapter included (the order of operators is that
    /// of `peft`'s `Linear.forward` and `Linear4bit.forward`).
    pub(in super::super) fn apply(&self, tape: &mut Tape, x: &Tensor) -> Tensor {
        let Some((a, b, adapters)) = &self.adapter else {
            return self.base_apply(tape, x);
        };
        let mut result = self.base_apply(tape, x);
        let out_dtype = result.dtype;
        let packed = self.base.expanded.is_some();
        if packed {
            result = tape.copied(&result);
        }
        let converting = !tape.autocasting();
        let x = tape.cast(x, adapters.dtype);
        let mut low = if adapters.dropout {
            tape.dropout(&x)
        } else {
            x.clone()
        };
        low = tape.linear(&low, a);
        low = tape.linear(&low, b);
        low = tape.scaled(&low);
        if packed {
            if converting {
                low = tape.cast(&low, out_dtype);
            }
            result = tape.add(&result, &low);
        } else {
            result = tape.add(&result, &low);
            drop(low);
            result = tape.cast(&result, out_dtype);
        }
        result
    }

    /// Applies the layer with its bias as a sum of its own.
    pub(in super::super) fn apply_bias_apart(&self, tape: &mut Tape, x: &Tensor) -> Tensor {
        let bare = Self {
            base: Matrix {
                bias: None,
                ..self.base.clone()
            },
            adapter: self.adapter.clone(),
        };
        let out = bare.apply(tape, x);
        match &self.base.bias {
            Some(bias) => tape.add_parameter(&out, bias),
            None => out,
        }
    }

    fn base_apply(&self, tape: &mut Tape, x: &Tensor) -> Tensor {
        match self.base.expanded {
            // The packed layer computes in its own type and gives back the input's.
            Some(expanded) => {
                let inner = tape.cast(x, expanded.dtype);
                let out = tape.linear(&inner, &self.base);
                drop(inner);
                tape.cast(&out, x.dtype)
            }
            None => tape.linear(x, &self.base),
        }
    }
}
