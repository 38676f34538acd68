"""The jobs of `advisor calibrate --on` against the parsers of those who run them.

Needs `skypilot` and `kubernetes-validate` from PyPI:

    python3 -m venv venv && venv/bin/pip install skypilot kubernetes-validate
    venv/bin/python tests/check_jobs.py target/debug/advisor
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HOME = tempfile.mkdtemp()
os.environ["HOME"] = HOME
shutil.copytree(
    pathlib.Path(__file__).parent / "data/prices/import/skypilot", f"{HOME}/.sky/catalogs/v8"
)
for catalogue in pathlib.Path(HOME).glob(".sky/catalogs/v8/*/*.csv"):
    catalogue.touch()

import kubernetes_validate
import sky
import yaml
from sky.utils import common_utils, schemas

# Against SkyPilot's schema of tasks.
SKYPILOT = [
    "aws/c7i.2xlarge", "gcp/g2-standard-4", "gcp/n1-standard-4+1xT4",
    "azure/Standard_D8s_v5", "lambda/gpu_1x_a6000",
]
# Against its parser as well, which looks machine types up in its catalogues: those
# in the excerpts of them in tests/data, so that no network is needed.
IN_EXCERPTS = ["lambda/cpu_4x_general", "lambda/gpu_1x_a6000"]
KUBERNETES = ["aws/c7i.2xlarge", "aws/g6.xlarge", "aws/c7g.large", "gcp/g2-standard-4"]


def written(program, engine, types, folder, more=()):
    subprocess.run(
        [program, "calibrate", "--on", engine, "--save", folder, "--model", "mlp",
         "--machine-type", ",".join(types), *more],
        check=True, stdout=subprocess.DEVNULL,
    )
    subprocess.run(["sh", "-n", f"{folder}/run.sh"], check=True)
    files = sorted(pathlib.Path(folder).glob("*.yaml"))
    assert len(files) == len(types), (files, types)
    return files


def refused(check, value):
    try:
        check(value)
    except (Exception, SystemExit):
        return True
    return False


def main(program):
    program = str(pathlib.Path(program).resolve())
    with tempfile.TemporaryDirectory() as folder:
        def schema(config):
            common_utils.validate_schema(config, schemas.get_task_schema(), "not a task: ")

        for path in written(program, "skypilot", SKYPILOT, f"{folder}/schema"):
            config = yaml.safe_load(path.read_text())
            schema(config)
            # The schema really judges: a field that it does not know is refused.
            assert refused(schema, {**config, "nonsense": 1})
            print(f"skypilot {sky.__version__}: {path.name}: valid")
        for path in written(program, "skypilot", IN_EXCERPTS, f"{folder}/parser"):
            task = sky.Task.from_yaml(str(path))
            (resources,) = task.resources
            assert resources.instance_type, resources
            assert "calibrate" in task.run and task.setup, task
            config = yaml.safe_load(path.read_text())
            config["resources"]["instance_type"] = "no_such_type"
            # Machine types are looked up when the resources are first looked at.
            assert refused(lambda value: repr(sky.Task.from_yaml_config(value).resources), config)
            print(f"skypilot {sky.__version__}: {path.name}: parsed: {resources}")
        more = ("--image", "registry.example/advisor:1")
        for path in written(program, "kubernetes", KUBERNETES, f"{folder}/k8s", more):
            job = yaml.safe_load(path.read_text())
            version = "1.31"
            kubernetes_validate.validate(job, version, strict=True)
            # The schema really judges: a misplaced field is refused.
            broken = {**job, "spec": {**job["spec"], "nodeSelector": {}}}
            assert refused(lambda value: kubernetes_validate.validate(value, version, strict=True), broken)
            print(f"Kubernetes {version}: {path.name}: valid")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "target/debug/advisor")
