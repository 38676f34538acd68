//! The empty session: a model that hands one number through, measured the same
//! way as any other, shows what starting an inference costs.

use super::{
    child::{Launcher, MeasuringChild},
    guard::Limits,
    measurement::Subject,
    protocol::{Answer, LoadRequest, Request},
};
use crate::{
    error::{Error, Result},
    model::{
        ElementType, Fill, InputSpec,
        proto::{
            DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
            TensorShapeProto, TensorTypeProto, TypeProto, TypeValue, ValueInfoProto,
        },
    },
    profile::calibration::SessionLayout,
    units::Time,
};
use prost::Message;

/// Loading one number's worth of model takes milliseconds; a GPU needs seconds
/// to be woken.
const PATIENCE: f64 = 60.0;

/// Visits, of which the median counts.
const VISITS: usize = 5;

/// What the measuring loop and the empty session take per inference.
pub(super) fn measure_empty(subject: &Subject<'_>, launcher: &Launcher) -> Result<(Time, Time)> {
    let folder = tempfile::tempdir()
        .map_err(|error| Error::machine(format!("no temporary folder: {error}")))?;
    let model = folder.path().join("empty.onnx");
    std::fs::write(&model, empty_model().encode_to_vec())
        .map_err(|error| Error::machine(format!("cannot write `{}`: {error}", model.display())))?;
    let limits = Limits {
        time: Time::saturating(PATIENCE),
        memory: None,
    };
    let mut child = MeasuringChild::start(launcher)?;
    child.ask(
        &Request::Load(Box::new(LoadRequest {
            library: subject.library.path.clone(),
            model,
            device: subject.device.clone(),
            layout: SessionLayout {
                instances: 1,
                intra_op_threads: 1,
                spinning: false,
            },
            cores: Vec::new(),
            inputs: vec![InputSpec {
                name: "x".to_owned(),
                element: ElementType::Float32,
                dims: vec![1],
                batch_axis: None,
                fill: Fill::Normal,
            }],
        })),
        limits,
    )?;
    child.ask(&Request::Warm { batch_size: 1 }, limits)?;
    let run = Request::Run {
        batch_size: 1,
        duration: Time::from_millis(20.0),
        at_least: 100,
    };
    let mut means = Vec::new();
    for _ in 0..VISITS {
        if let Answer::Ran { timed, .. } = child.ask(&run, limits)? {
            means.push(timed.mean);
        }
    }
    means.sort();
    let empty = means.get(means.len() / 2).copied();
    let (Some(empty), Answer::Harness { each }) = (empty, child.ask(&Request::Harness, limits)?)
    else {
        return Err(Error::machine(
            "the measuring process answered another question",
        ));
    };
    Ok((each, empty))
}

/// `y = Identity(x)`, one float. Opset 13 is known to every runtime accepted.
fn empty_model() -> ModelProto {
    let value = |name: &str| ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(TypeValue::Tensor(TensorTypeProto {
                elem_type: Some(1),
                shape: Some(TensorShapeProto {
                    dim: vec![DimensionProto::default()],
                }),
            })),
        }),
    };
    ModelProto {
        ir_version: Some(7),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(13),
        }],
        graph: Some(GraphProto {
            name: Some("empty".to_owned()),
            node: vec![NodeProto {
                input: vec!["x".to_owned()],
                output: vec!["y".to_owned()],
                op_type: Some("Identity".to_owned()),
                ..NodeProto::default()
            }],
            input: vec![value("x")],
            output: vec![value("y")],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}
