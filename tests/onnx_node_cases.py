#!/usr/bin/env python3
"""Writes the node tests of the `onnx` package as files, with the shapes of their results.

    python tests/onnx_node_cases.py FOLDER
    ADVISOR_ONNX_CASES=FOLDER cargo test --lib node_tests_of_onnx -- --ignored

Small one-dimensional inputs (shapes, axes, scales) become constants, as exporters
write them; shapes of results are taken away, so that they must be worked out.
Needs `pip install onnx numpy`; no part of `cargo test`.
"""

import pathlib
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    lines = []
    for case in collect_testcases(None):
        if case.model is None or not case.data_sets:
            continue
        given, wanted = case.data_sets[0]
        if not all(isinstance(value, np.ndarray) for value in wanted):
            continue
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        inputs = list(model.graph.input)
        for index, (port, value) in enumerate(zip(inputs, given)):
            if index and isinstance(value, np.ndarray) and value.size <= 64 and value.ndim <= 1:
                model.graph.initializer.append(numpy_helper.from_array(value, port.name))
                model.graph.input.remove(port)
        for port in model.graph.output:
            port.type.ClearField("value")
            port.type.tensor_type.elem_type = onnx.TensorProto.UNDEFINED
        (folder / f"{case.name}.onnx").write_bytes(model.SerializeToString())
        results = [f"{p.name}={list(v.shape)}" for p, v in zip(case.model.graph.output, wanted)]
        lines.append("\t".join([case.name, *results]))
    (folder / "cases.tsv").write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} cases from onnx {onnx.__version__} in {folder}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
