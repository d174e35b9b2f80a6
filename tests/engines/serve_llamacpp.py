"""llama.cpp's own server, out of the xllamacpp package, until its input ends.

ENGINE/bin/python tests/engines/serve_llamacpp.py FOLDER PORT    FOLDER: of to_gguf.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import xllamacpp

folder, port = Path(sys.argv[1]), int(sys.argv[2])
params = xllamacpp.CommonParams()
params.model.path = str(folder / "model.gguf")
params.mmproj.path = str(folder / "mmproj.gguf")
params.model_alias = {"tiny"}
params.hostnames, params.port = ["127.0.0.1"], port
params.n_ctx, params.n_parallel = 16384, 2
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.warmup = False
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
