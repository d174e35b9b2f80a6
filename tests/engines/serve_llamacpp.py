"""llama.cpp's own server, out of the xllamacpp package, until its input ends.

    ENGINE/bin/python tests/engines/serve_llamacpp.py FOLDER PORT [SETTING=NUMBER ...]

FOLDER: of to_gguf.py. SETTING: of llama.cpp's common parameters, as image_max_tokens=300 or cache_prompt=0.
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
for setting in sys.argv[3:]:
    name, _, number = setting.partition("=")
    setattr(params, name, type(getattr(params, name))(int(number)))
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
