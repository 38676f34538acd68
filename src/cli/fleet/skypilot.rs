//! A `SkyPilot` task: one machine of the type, this very program copied onto it.

use super::{Job, command, file_of, quoted, yaml};
use crate::{
    cli::{args::CalibrateArgs, folders::program, subject::Named},
    error::{Error, Result},
};
use std::{fmt::Write as _, path::Path};

/// Providers that `SkyPilot` 0.14 has, under the names that price files give them.
const CLOUDS: [&str; 9] = [
    "aws",
    "azure",
    "gcp",
    "lambda",
    "nebius",
    "paperspace",
    "runpod",
    "vast",
    "verda",
];

pub(super) fn task(job: &Job<'_>, args: &CalibrateArgs, model: &Named) -> Result<String> {
    let offer = job.offer;
    let cloud = offer.provider.as_str();
    if !CLOUDS.contains(&cloud) {
        return Err(Error::bad_input(format!(
            "SkyPilot has no cloud `{cloud}`, so it cannot start {}",
            job.machine_type
        ))
        .hint(format!(
            "run `advisor calibrate --machine-type {} --save FILE` there by hand",
            job.machine_type
        )));
    }
    let own = program()?;
    let binary = match &args.program {
        Some(path) => path.as_path(),
        None if offer.arch == std::env::consts::ARCH => own.as_path(),
        None => {
            return Err(Error::bad_input(format!(
                "{} is of another architecture ({}) than this program ({})",
                job.machine_type,
                offer.arch,
                std::env::consts::ARCH
            ))
            .hint("give a build for it with `--program FILE`"));
        }
    };
    let binary = absolute(binary)?;
    // GCP adds GPUs to machine types; elsewhere the type says it all.
    let instance_type = offer
        .instance_type
        .split_once('+')
        .map_or(offer.instance_type.as_str(), |(name, _)| name);
    let mut text = format!(
        "# Measures {model} on {machine}: written by `advisor calibrate --on skypilot`.\n\
         name: {name}\n\
         resources:\n  infra: {cloud}\n  instance_type: {instance}\n  use_spot: false\n",
        model = model.name(),
        machine = job.machine_type,
        name = yaml(&job.name),
        cloud = yaml(cloud),
        instance = yaml(instance_type),
    );
    if let (Some(gpu), "gcp") = (&offer.gpu, cloud) {
        let _ = writeln!(
            text,
            "  accelerators: {{{}: {}}}",
            yaml(&gpu.name),
            gpu.count
        );
    }
    let _ = writeln!(
        text,
        "num_nodes: 1\nfile_mounts:\n  ~/advisor-bin/advisor: {}",
        yaml(&binary)
    );
    let name = match file_of(model) {
        Some(path) => {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let there = format!("~/advisor-bin/{file}");
            let _ = writeln!(text, "  {}: {}", yaml(&there), yaml(&absolute(path)?));
            format!("advisor-bin/{file}")
        }
        None => model.name(),
    };
    let save = format!("results/{}.json", job.name);
    let measure = command("advisor-bin/advisor", job, args, (&name, &save));
    let _ = write!(
        text,
        "setup: |\n  chmod +x ~/advisor-bin/advisor\n  command -v uv >/dev/null || command -v pip >/dev/null || python3 -m ensurepip --user\n\
         run: |\n  cd ~\n  mkdir -p results\n  {measure}\n",
    );
    Ok(text)
}

/// Starts one machine after the other, fetches its result and gives it back, also
/// where measuring failed.
pub(super) fn script(names: &[&str]) -> String {
    let list: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!(
        "#!/bin/sh\n\
         # Measures on each machine type and fetches the results: needs `sky` and costs money.\n\
         # A machine is given back when its result is here, or when it failed.\n\
         cd \"$(dirname \"$0\")\" || exit 1\n\
         mkdir -p results\n\
         for name in {}; do\n  \
         sky launch --yes --cluster \"$name\" --idle-minutes-to-autostop 30 --down \"$name.yaml\" &&\n    \
         rsync -a \"$name:results/\" results/\n  \
         sky down --yes \"$name\"\n\
         done\n",
        list.join(" ")
    )
}

fn absolute(path: &Path) -> Result<String> {
    std::path::absolute(path)
        .map(|path| path.display().to_string())
        .map_err(|error| Error::bad_input(format!("`{}`: {error}", path.display())))
}
