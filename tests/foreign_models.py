#!/usr/bin/env python3
"""Runs `advisor calibrate` on ONNX files that nobody here wrote.

    python tests/foreign_models.py path/to/advisor

Collects the test data inside the `onnx` package (`pip install onnx`) and, where
they are installed, models exported by `torch` (with `onnxscript`) and `skl2onnx`.
Each file must be measured or refused with a reason: exit code 0, or 2 or 3 with
an `error:` line and no panic. Prints the list; exits 1 if a file breaks that
rule or if fewer than ten files were found.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile


def from_onnx_package(folder):
    """Full models (light zoo graphs) and a choice of operator tests."""
    import onnx.backend.test

    root = pathlib.Path(onnx.backend.test.__file__).parent / "data"
    found = sorted((root / "light").glob("*.onnx"))
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        found += sorted((root / kind).glob("*/model.onnx"))[::12]
    wanted = (
        "test_loop11", "test_if", "test_scan9_sum", "test_lstm_defaults", "test_gru_defaults",
        "test_resize_upsample_sizes_nearest", "test_string_split_basic", "test_sequence_insert_at_back",
        "test_nonmaxsuppression_identical_boxes", "test_attention_4d", "test_quantizelinear",
        "test_ai_onnx_ml_tree_ensemble_single_tree", "test_loop16_seq_none", "test_optional_get_element_tensor",
    )
    found += [p for name in wanted for p in [root / "node" / name / "model.onnx"] if p.exists()]
    return [(f"onnx: {p.parent.name if p.name == 'model.onnx' else p.stem}", p) for p in found]


def from_torch(folder):
    import torch

    class Tokens(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(100, 16)
            self.layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

        def forward(self, input_ids, attention_mask):
            hidden = self.table(input_ids)
            return self.layer(hidden) * attention_mask.unsqueeze(-1)

    image = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))
    jobs = [
        ("tokens", Tokens().eval(), (torch.ones(1, 8, dtype=torch.long), torch.ones(1, 8)),
         ["input_ids", "attention_mask"]),
        ("image", image.eval(), (torch.rand(1, 3, 32, 32),), ["pixels"]),
    ]
    found = []
    for name, module, arguments, names in jobs:
        for batch in ("fixed", "free"):
            path = folder / f"torch-{name}-{batch}.onnx"
            axes = {n: {0: "batch"} for n in names} if batch == "free" else None
            torch.onnx.export(module, arguments, str(path), input_names=names, dynamic_axes=axes, dynamo=False)
            found.append((f"torch: {name}, {batch} batch", path))
    return found


def from_sklearn(folder):
    import numpy
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = numpy.random.default_rng(1)
    x = rng.normal(size=(200, 6)).astype(numpy.float32)
    y = (x[:, 0] > 0).astype(int)
    found = []
    for model in (
        RandomForestClassifier(20),
        GradientBoostingRegressor(n_estimators=20),
        LogisticRegression(),
        make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=20)),
    ):
        name = type(model).__name__
        path = folder / f"sklearn-{name}.onnx"
        path.write_bytes(to_onnx(model.fit(x, y), x[:1]).SerializeToString())
        found.append((f"skl2onnx: {name}", path))
    return found


def external_data(folder):
    """A file of the onnx package with its weights moved to a second file."""
    import numpy
    import onnx
    from onnx import helper, numpy_helper

    weights = numpy_helper.from_array(numpy.ones((64, 64), numpy.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", 1, ["batch", 64])],
        [helper.make_tensor_value_info("y", 1, ["batch", 64])], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return [("onnx helper: external data", path)]


def control_flow(folder):
    """A branch and a loop, as the onnx package's own helpers write them."""
    import numpy
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    def branch(op):
        return helper.make_graph([helper.make_node(op, ["x"], ["b"])], op, [], [value("b", 1, None)])

    decide = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg")),
    ]
    zero = numpy_helper.from_array(numpy.array(0.0, numpy.float32), "zero")
    body = helper.make_graph(
        [helper.make_node("Add", ["before", "before"], ["after"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("before", 1, None)],
        [value("on", TensorProto.BOOL, []), value("after", 1, None)])
    times = numpy_helper.from_array(numpy.array(3, numpy.int64), "times")
    yes = numpy_helper.from_array(numpy.array(True), "yes")
    repeat = [helper.make_node("Loop", ["times", "yes", "x"], ["y"], body=body)]
    found = []
    for name, nodes, weights in (("if", decide, [zero]), ("loop", repeat, [times, yes])):
        graph = helper.make_graph(
            nodes, name, [value("x", 1, ["batch", 8])], [value("y", 1, ["batch", 8])], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        path = folder / f"{name}.onnx"
        onnx.save(model, path)
        found.append((f"onnx helper: {name}", path))
    return found


def outcome(advisor, path, folder):
    """What became of one file, and whether that is acceptable."""
    command = [advisor, "calibrate", "--model", str(path), "--time", "0.5s", "--max-batch", "4",
               "--only", "cpu", "--quiet", "--format", "json", "--data-dir", str(folder / "data")]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return False, "no end within 120 s"
    if run.returncode == 0:
        calibration = json.loads(run.stdout)[0]
        batches = sorted({row["batch_size"] for row in calibration["rows"]})
        fixed = calibration["model"]["max_batch"]
        return True, f"measured, batches {batches}" + (f", at most {fixed}" if fixed else "")
    errors = [line for line in run.stderr.splitlines() if line.startswith("error:")]
    fine = run.returncode in (2, 3) and bool(errors) and "panicked" not in run.stderr
    said = errors[0] if errors else (run.stderr.strip().splitlines() or ["nothing"])[-1]
    return fine, f"refused ({run.returncode}): {said.removeprefix('error: ')}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("advisor")
    arguments = parser.parse_args()
    bad = found = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for source in (from_onnx_package, external_data, control_flow, from_torch, from_sklearn):
            try:
                files = source(folder)
            except ImportError as error:
                print(f"-- {source.__name__}: left out, {error}")
                continue
            for name, path in files:
                fine, what = outcome(arguments.advisor, path, folder)
                found += 1
                bad += not fine
                print(f"{'ok ' if fine else 'BAD'} {name}: {what}", flush=True)
    print(f"{found} files, {bad} neither measured nor refused with a reason")
    return 1 if bad or found < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
