//! One training step or inference pass, phase by phase.

use super::architecture::{ImageNet, Style, Transformer};
use super::network::{ImageNetwork, ImagePass, Bert, Decoder, Gpt2, Layers, Outcome, Output, Pass, Policy};
use super::tape::{Held, Kind, Recording, Snapshot, Tape};

/// What is alive at the peak of each phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Weights, buffers.
    pub weights: u64,
    /// optimizer
    pub optimizer: u64,
    /// fwd
    pub forward: u64,
    /// end of forward
    pub kept: u64,
    /// bwd
    pub backward: u64,
    /// step
    pub update: u64,
    /// parameters
    pub parameters: u64,
    /// trained
    pub adapter: u64,
}

enum Network { Decoder(Decoder), Bert(Bert), Gpt2(Gpt2) }

#[allow(missing_docs)]
pub(super) fn replay(shape: &Transformer, policy: Policy, pass: Pass, autocast: bool, half: super::tape::HalfKind, optimizer_bytes: &dyn Fn(&[u64]) -> (u64, u64)) -> Phases {
    let training = pass.output == Output::Loss;
    let mut tape = Tape::new(if training { Recording::On } else { Recording::Off });
    let mut make = Layers::new(&mut tape, policy);
    let net = match shape.style {
        Style::Llama => Network::Decoder(Decoder::new(shape, &mut make)),
        Style::Bert => Network::Bert(Bert::new(shape, &mut make)),
        Style::Gpt2 => Network::Gpt2(Gpt2::new(shape, &mut make)),
    };
    let (parameters, adapter, sizes) = make.into_trained_sizes();
    let weights = tape.meter.live();
    tape.meter.charge_to(Kind::Optimizer);
    let (state, temp) = optimizer_bytes(&sizes);
    let _state: Held = tape.allocate(state);
    tape.meter.charge_to(Kind::Activations);
    tape.meter.take_peak();
    let base = tape.meter.live();
    tape.compute_in(if autocast { super::tape::Dtype::Half } else { policy.weights }, half);
    if autocast { tape.enter_autocast(); }
    let out = match &net { Network::Decoder(n) => n.run(&mut tape, pass), Network::Bert(n) => n.run(&mut tape, pass), Network::Gpt2(n)=> n.run(&mut tape, pass) };
    tape.leave_autocast();
    let forward: Snapshot = tape.meter.take_peak();
    let kept = tape.meter.live() - base;
    let mut r = Phases { weights, optimizer: state, forward: forward.total(), kept, parameters, adapter, ..Default::default() };
    if training {
        let Outcome { result, inputs: _inputs, .. } = out;
        tape.backward(result);
        r.backward = tape.meter.take_peak().total();
        let _g = tape.take_gradients();
        let _t = tape.allocate(temp);
        r.update = tape.meter.take_peak().total();
    }
    r
}

#[allow(missing_docs)]
pub(super) fn replay_image(shape: &ImageNet, policy: Policy, pass: ImagePass, autocast: bool, half: super::tape::HalfKind, state: u64, temp: u64) -> Phases {
    let training = pass.output == Output::Loss;
    let mut tape = Tape::new(if training { Recording::On } else { Recording::Off });
    let mut make = Layers::new(&mut tape, policy);
    let net = ImageNetwork::new(shape, &mut make);
    let (parameters, adapter, _) = make.into_trained_sizes();
    let weights = tape.meter.live();
    tape.meter.charge_to(Kind::Optimizer);
    let _state: Held = tape.allocate(state);
    tape.meter.charge_to(Kind::Activations);
    tape.meter.take_peak();
    let base = tape.meter.live();
    tape.compute_in(if autocast { super::tape::Dtype::Half } else { policy.weights }, half);
    if autocast { tape.enter_autocast(); }
    let out = net.run(&mut tape, pass);
    tape.leave_autocast();
    let forward: Snapshot = tape.meter.take_peak();
    let kept = tape.meter.live() - base;
    let mut r = Phases { weights, optimizer: state, forward: forward.total(), kept, parameters, adapter, ..Default::default() };
    if training {
        let Outcome { result, inputs: _inputs, .. } = out;
        tape.backward(result);
        r.backward = tape.meter.take_peak().total();
        let _g = tape.take_gradients();
        let _t = tape.allocate(temp);
        r.update = tape.meter.take_peak().total();
    }
    r
}
