#!/usr/bin/env python3
"""Checks ONNX files with tools that are not ours.

    python tests/check_models.py FILE_OR_FOLDER ...

For each file: `onnx.checker.check_model(full_check=True)`; a run of one batch of
2 in ONNX Runtime with the statistics of the outputs (finite, no denormals); and
which operators are left after ONNX Runtime's optimisation, so that fused
attention shows. Exits with 1 if a file fails, or if a transformer of the
reference models has other than one fused attention per layer.

Needs `pip install onnx onnxruntime numpy`; no part of `cargo test`.
"""

import argparse
import collections
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

# Fused attention nodes that the 32-bit files must have. In the 16-bit files only
# providers with 16-bit kernels fuse, which the CPU's has not.
LAYERS = {"bert-base": 12, "minilm-l6": 6}
SHOWN = [
    "Attention", "SkipLayerNormalization", "LayerNormalization", "BiasGelu", "Gelu", "Erf",
    "EmbedLayerNormalization", "FusedConv", "Conv", "BatchNormalization", "FusedGemm",
    "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger", "ConvInteger", "Cast",
    "TreeEnsembleRegressor",
]


def feeds(session, rng):
    values = {}
    for spec in session.get_inputs():
        shape = [d if isinstance(d, int) else 2 for d in spec.shape]
        if "mask" in spec.name:
            value = np.ones(shape)
        elif "int" in spec.type:
            value = rng.integers(0, 2 if "type" in spec.name else 30000, shape)
        else:
            value = rng.standard_normal(shape)
        kind = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(float16)": np.float16}
        values[spec.name] = value.astype(kind[spec.type])
    return values


def check(path):
    onnx.checker.check_model(str(path), full_check=True)
    with tempfile.TemporaryDirectory() as folder:
        optimised = pathlib.Path(folder) / "optimised.onnx"
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(optimised)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        operators = collections.Counter(n.op_type for n in onnx.load(str(optimised)).graph.node)
    results = session.run(None, feeds(session, np.random.default_rng(0)))
    stats = []
    for spec, result in zip(session.get_outputs(), results):
        if not np.isfinite(result).all():
            raise ValueError(f"output {spec.name} is not finite")
        size = np.abs(result)
        if ((size > 0) & (size < np.finfo(result.dtype).tiny)).any():
            raise ValueError(f"output {spec.name} has denormal numbers")
        if result.std() == 0:
            raise ValueError(f"output {spec.name} is the same everywhere")
        stats.append(f"{spec.name} {list(result.shape)} mean {result.mean():.3g} sd {result.std():.3g}")
    wanted = next((n for name, n in LAYERS.items() if path.name.startswith(name)), None)
    if wanted and "int8" not in path.name and "fp16" not in path.name and operators["Attention"] != wanted:
        raise ValueError(f"{operators['Attention']} fused attention nodes, not {wanted}")
    return operators, stats


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    files = []
    for path in arguments.paths:
        files += sorted(path.glob("**/*.onnx")) if path.is_dir() else [path]
    failed = 0
    for path in files:
        try:
            operators, stats = check(path)
        except Exception as error:  # every kind of failure is a finding here
            print(f"FAIL {path.name}: {error}")
            failed += 1
            continue
        fused = ", ".join(f"{op} {operators[op]}" for op in SHOWN if operators[op])
        print(f"ok   {path.name} ({path.stat().st_size / 2**20:.1f} MiB): {fused}")
        for line in stats:
            print(f"       {line}")
    print(f"{len(files) - failed} of {len(files)} files pass (onnx {onnx.__version__}, onnxruntime {ort.__version__})")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main())
