#!/usr/bin/env python3
"""Compares advisor's service times with those of Python's onnxruntime.

Both measure the same files with the same threads, turn and turn about: advisor
through its own measuring child (the process that `advisor calibrate` uses), Python
in this process. Not part of the tests, since it is a measurement.

    pip install onnxruntime onnx numpy
    python3 tests/python_agreement.py [--rounds 12] [MODEL ...]

Needs the release binary (`cargo build --release`) and an ONNX Runtime that it finds;
for a fair comparison set ORT_DYLIB_PATH to the library inside Python's onnxruntime.
"""

import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ADVISOR = os.path.join(ROOT, "target", "release", "advisor")
DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


class Child:
    """advisor's measuring child, one layout of one model."""

    def __init__(self, library, model, threads, inputs):
        self.process = subprocess.Popen(
            [ADVISOR, "worker", "measure"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        layout = {"instances": 1, "intra_op_threads": threads, "spinning": False}
        self.ask({"do": "load", "library": library, "model": model, "device": {"kind": "cpu"},
                  "layout": layout, "inputs": inputs})

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if answer["done"] == "failed":
            sys.exit(f"advisor: {answer['message']}")
        return answer

    def warm(self, batch):
        self.ask({"do": "warm", "batch_size": batch})

    def run(self, batch, seconds):
        return self.ask({"do": "run", "batch_size": batch, "for_s": seconds, "at_least": 3})["service_s"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Python:
    """The same session in Python."""

    def __init__(self, model, threads, inputs):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = inputs
        self.made = {}

    def values(self, batch):
        if batch not in self.made:
            generator = np.random.default_rng(1)
            self.made[batch] = [
                {spec["name"]: fill(generator, spec, batch) for spec in self.inputs} for _ in range(16)
            ]
        return self.made[batch]

    def warm(self, batch):
        for feed in self.values(batch)[:3]:
            self.session.run(None, feed)

    def run(self, batch, seconds):
        feeds, times, begin = self.values(batch), [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin < seconds:
            feed = feeds[len(times) % len(feeds)]
            start = time.perf_counter()
            self.session.run(None, feed)
            times.append(time.perf_counter() - start)
        return times


def fill(generator, spec, batch):
    shape = list(spec["dims"])
    shape[spec["batch_axis"]] = batch
    kind = spec["fill"]["kind"]
    if kind == "below":
        return generator.integers(0, spec["fill"]["limit"], shape, dtype=np.int64)
    if kind in ("ones", "zeros"):
        return np.full(shape, 1 if kind == "ones" else 0, dtype=np.int64)
    if kind == "unit":
        return generator.random(shape, dtype=np.float32)
    return generator.standard_normal(shape, dtype=np.float32)


def input_specs(path):
    """What to feed, in the form that the child takes."""
    specs = []
    for port in ort.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs():
        dims = [d if isinstance(d, int) else 1 for d in port.shape]
        name = port.name
        if "mask" in name:
            how = {"kind": "ones"}
        elif "token_type" in name:
            how = {"kind": "zeros"}
        elif port.type == "tensor(int64)":
            how = {"kind": "below", "limit": 30522}
        else:
            how = {"kind": "unit" if len(dims) == 4 else "normal"}
        element = {"tensor(float)": "float32", "tensor(int64)": "int64"}[port.type]
        specs.append({"name": name, "element": element, "dims": dims, "batch_axis": 0, "fill": how})
    return specs


def empty_model(folder):
    """A model that does nothing: what remains is the cost of a call."""
    ports = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", 100]) for n in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "empty", ports[:1], ports[1:])
    path = os.path.join(folder, "empty.onnx")
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def compare(name, path, library, rounds, seconds, limit):
    inputs, ratios = input_specs(path), []
    for threads in sorted({1, os.cpu_count() or 1}):
        child, python = Child(library, path, threads, inputs), Python(path, threads, inputs)
        for batch in (1, 2, 4, 8, 16, 32):
            child.warm(batch)
            python.warm(batch)
            if statistics.median(python.run(batch, 0)) > limit:
                break
            ours, theirs = [], []
            for turn in range(rounds):
                pair = [(child, ours), (python, theirs)]
                for who, times in pair if turn % 2 == 0 else reversed(pair):
                    times.append(statistics.median(who.run(batch, seconds)))
            a, b = statistics.median(ours), statistics.median(theirs)
            ratios.append(a / b)
            print(f"{name:20} {threads:7} {batch:5} {a * 1e3:12.4f} {b * 1e3:12.4f} {a / b:7.3f}", flush=True)
        child.close()
    print(f"{name:20} median ratio over the sweep: {statistics.median(ratios):.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0.15)
    parser.add_argument("--limit", type=float, default=0.6, help="leave out batches that take longer")
    parser.add_argument("models", nargs="*", default=["bert-base", "resnet50", "minilm-l6", "mlp"])
    args = parser.parse_args()
    folder = os.path.dirname(ort.__file__)
    library = os.environ.get("ORT_DYLIB_PATH") or glob.glob(f"{folder}/capi/libonnxruntime.so.*")[0]
    print(f"onnxruntime {ort.__version__}, p50 in ms, {args.rounds} turns each")
    print(f"{'model':20} {'threads':>7} {'batch':>5} {'advisor':>12} {'python':>12} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([ADVISOR, "models", "--quiet", "--write", scratch, *args.models],
                       check=True, stdout=subprocess.DEVNULL)
        for name in args.models:
            path = glob.glob(f"{scratch}/{name}-*.onnx")[0]
            compare(name, path, library, args.rounds, args.seconds, args.limit)
        compare("(empty model)", empty_model(scratch), library, args.rounds, args.seconds, args.limit)


if __name__ == "__main__":
    main()
