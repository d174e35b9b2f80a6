#!/bin/sh
# Other people's clients, each as its users install it, in environments of their own: 700 MB, three minutes.
#
# ERGO_CLIENTS: where they go (default: .clients here). PYTHON: which Python makes the first. npm: for the second.
set -eu
cd "$(dirname "$0")/../.."

home="${ERGO_CLIENTS:-.clients}"
[ -e "$home/ready" ] && exit 0
mkdir -p "$home/node"
"${PYTHON:-python3}" -m venv "$home/python"
"$home/python/bin/python" -m pip install --quiet --disable-pip-version-check \
    'litellm>=1.110,<2' 'langchain-openai>=1.7,<2' 'llm>=0.32,<1' 'instructor>=1.17,<2' httpx
"${PYTHON:-python3}" -m venv "$home/schemathesis"
"$home/schemathesis/bin/python" -m pip install --quiet --disable-pip-version-check 'schemathesis>=4.1,<5'
if command -v npm >/dev/null; then
    cp tests/clients/package.json "$home/node/"
    (cd "$home/node" && npm install --no-audit --no-fund --silent)
fi
touch "$home/ready"
