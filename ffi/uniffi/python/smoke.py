"""What the generator writes for Python, run once: smoke.py MODEL ANOTHER-MODEL, with the generated tern.py on the path."""

import os
import sys
import tempfile

import tern
from checking import check


runtime = tern.TernRuntime()
try:
    runtime.open("/nowhere/model.gguf")
    check("missing file", False, "no error")
except tern.TernError.Io as e:
    found = e.path == "/nowhere/model.gguf" and e.reason == tern.IoReason.NOT_FOUND and e.kind() == tern.ErrorKind.IO
    check("missing file", found, e.summary())

model = runtime.open(sys.argv[1])
generation = model.session(tern.SessionOptions(context=64)).generate(
    "The capital of France is", tern.GenerateOptions(max_tokens=8)
)
text = ""
while (event := generation.next()) is not None:
    text += event.text
check("stream", "Paris" in text and event is None, repr(text))

with tempfile.TemporaryFile() as package, open(sys.argv[2], "rb") as another:
    asset = another.read()
    package.write(b"before" + asset + b"behind")
    package.flush()
    inside = runtime.open_descriptor("asset", package.fileno(), offset=6, length=len(asset))
    check("model inside an open file", inside.info().parameters > 0, f"{inside.info().parameters} parameters")
    try:
        runtime.open_descriptor("asset", package.fileno(), offset=6, length=len(asset) + 7)
        check("range beyond the file", False, "no error")
    except tern.TernError.Io as e:
        check("range beyond the file", e.path == "asset" and os.fstat(package.fileno()), e.summary())
