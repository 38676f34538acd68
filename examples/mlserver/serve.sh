#!/usr/bin/env bash
# Serves an ONNX model with MLServer from PyPI, for `advisor verify --url`.
#
#   examples/mlserver/serve.sh MODEL.onnx NAME [MAX_BATCH_SIZE MAX_BATCH_TIME]
#
# Without a batch size and a batch time (in seconds) adaptive batching is off.
# The model runs in the server's own process: verify it with
# `--batcher mlserver-in-process`, and without batching with `--max-batch 1` as well.
# INTRA_OP_THREADS (1), PORT (8080) and VENV (./.mlserver-venv) may be set.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
model="$(realpath "$1")"
name="$2"
batch="${3:-0}"
window="${4:-0}"
port="${PORT:-8080}"
venv="${VENV:-$PWD/.mlserver-venv}"
export INTRA_OP_THREADS="${INTRA_OP_THREADS:-1}"

if [ ! -x "$venv/bin/mlserver" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet mlserver==1.7.1 onnxruntime==1.31.1 numpy
fi

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cp "$here/onnx_runtime.py" "$folder/"
cat > "$folder/settings.json" <<JSON
{"host": "127.0.0.1", "http_port": $port, "grpc_port": $((port + 1)),
 "metrics_endpoint": null, "parallel_workers": 0, "debug": false, "use_structured_logging": false}
JSON
cat > "$folder/model-settings.json" <<JSON
{"name": "$name", "implementation": "onnx_runtime.OnnxRuntime",
 "max_batch_size": $batch, "max_batch_time": $window, "parameters": {"uri": "$model"}}
JSON
cd "$folder"
export PYTHONPATH="$folder"
# Not `exec`: the folder is cleaned up when the server ends.
"$venv/bin/mlserver" start "$folder"
