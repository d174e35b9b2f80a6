#!/bin/sh
# verl in an environment of its own, for tests/engines/test_verl.py: 1.5 GB, three minutes, no GPU.
#
#   tests/engines/setup_verl.sh
#
# It lacks the rollout engine (vLLM or SGLang), which wants a GPU: docs/cluster.md installs that. torch is
# the CPU's 2.13, where verl's own extra would pin 2.11.
# ERGO_ENGINES: where the environment goes (default: .engines here). PYTHON: which Python makes it.
set -eu
cd "$(dirname "$0")/../.."

home="${ERGO_ENGINES:-.engines}/verl"
python="$home/bin/python"
[ -e "$home/ready" ] && exit 0

mkdir -p "$(dirname "$home")"
"${PYTHON:-python3}" -m venv "$home"
install() {
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
}
install torch==2.13.0
install "transformers>=5.5.3,!=5.6.0,<5.11" "tensordict==0.10.*" "ray[default]" hydra-core \
    accelerate peft datasets pyarrow pandas codetiming pylatexenc pybind11 dill torchdata tensorboard \
    cachetools uvicorn fastapi "TransferQueue>=0.1.10" pytest # the last line but pytest: verl imports, and does not name
install --no-deps verl==0.9.1
install --no-deps -e .
install "pillow>=11.3" "httpx>=0.28"
touch "$home/ready"
