"""Without the extra nescio[onnx] there is nothing to test here."""

from importlib.util import find_spec

NEEDED = ("onnx", "onnxscript", "onnxruntime")

collect_ignore_glob = [] if all(map(find_spec, NEEDED)) else ["test_*.py"]
