//! A Kubernetes Job: one pod on a node of the type, with as much of it as can be
//! had and without a CPU limit, which would throttle what is measured.

use super::{Job, command, file_of, quoted, yaml};
use crate::{
    cli::{args::CalibrateArgs, subject::Named},
    error::{Error, Result},
};
use std::fmt::Write as _;

/// Thousandths of a processor left to the node's own pods.
const LEFT_TO_THE_NODE: u32 = 500;

pub(super) fn job(job: &Job<'_>, args: &CalibrateArgs, model: &Named) -> Result<String> {
    let Some(image) = &args.image else {
        return Err(
            Error::bad_input("--on kubernetes: say which image holds this program").hint(
                "give an image with `advisor` and ONNX Runtime in it (or `pip`, to fetch that), as in `--image registry/advisor:tag`",
            ),
        );
    };
    let offer = job.offer;
    // A file must be in the image, under the path that was typed.
    let name = match file_of(model) {
        Some(path) => path.display().to_string(),
        None => model.name(),
    };
    let measure = command("advisor", job, args, (&name, "/tmp/result.json"));
    let shell = format!("{measure} >&2 && cat /tmp/result.json");
    let instance_type = offer
        .instance_type
        .split_once('+')
        .map_or(offer.instance_type.as_str(), |(name, _)| name);
    let millis = offer
        .vcpus
        .saturating_mul(1000)
        .saturating_sub(LEFT_TO_THE_NODE)
        .max(LEFT_TO_THE_NODE);
    let mut text = format!(
        "# Measures {model} on {machine}: written by `advisor calibrate --on kubernetes`.\n\
         apiVersion: batch/v1\n\
         kind: Job\n\
         metadata:\n  name: {name}\n  labels:\n    app.kubernetes.io/name: advisor\n\
         spec:\n  backoffLimit: 1\n  activeDeadlineSeconds: 3600\n  template:\n    metadata:\n      labels:\n        app.kubernetes.io/name: advisor\n    \
         spec:\n      restartPolicy: Never\n      nodeSelector:\n        node.kubernetes.io/instance-type: {instance}\n        kubernetes.io/arch: {arch}\n",
        model = model.name(),
        machine = job.machine_type,
        name = yaml(&job.name),
        instance = yaml(instance_type),
        arch = yaml(if offer.arch == "aarch64" {
            "arm64"
        } else {
            "amd64"
        }),
    );
    if offer.gpu.is_some() {
        text.push_str(
            "      tolerations:\n        - key: nvidia.com/gpu\n          operator: Exists\n          effect: NoSchedule\n",
        );
    }
    let _ = write!(
        text,
        "      containers:\n        - name: advisor\n          image: {}\n          command: [\"sh\", \"-c\"]\n          args:\n            - {}\n          resources:\n            requests:\n              cpu: {}\n",
        yaml(image),
        yaml(&shell),
        yaml(&format!("{millis}m")),
    );
    if let Some(gpu) = &offer.gpu {
        let _ = write!(
            text,
            "            limits:\n              nvidia.com/gpu: \"{}\"\n",
            gpu.count
        );
    }
    Ok(text)
}

/// Applies all jobs, waits for each and reads its result from its log.
pub(super) fn script(names: &[&str]) -> String {
    let list: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!(
        "#!/bin/sh\n\
         # Measures on each machine type and fetches the results: needs `kubectl` and nodes of\n\
         # these types (or an autoscaler that adds them, which costs money).\n\
         cd \"$(dirname \"$0\")\" || exit 1\n\
         mkdir -p results\n\
         for name in {}; do\n  \
         kubectl apply -f \"$name.yaml\" &&\n    \
         kubectl wait --for=condition=complete --timeout=3600s \"job/$name\" &&\n    \
         kubectl logs \"job/$name\" | grep '^{{\"schema\"' >\"results/$name.json\"\n  \
         kubectl delete --ignore-not-found -f \"$name.yaml\"\n\
         done\n",
        list.join(" ")
    )
}
