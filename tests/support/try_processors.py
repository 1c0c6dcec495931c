"""Run the fast tests as other processors, numbers of threads and seeds would; print a table.

``make test-processors``; arguments of the script itself, such as ``tests/data``, go to pytest.

PyTorch and oneDNN choose their kernels by what the processor can do, and round differently in each.
Kernels for less than this processor can be asked of them; those for more cannot.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

SETTINGS: tuple[Mapping[str, str], ...] = (
    {},
    {"ATEN_CPU_CAPABILITY": "default", "NESCIO_TEST_SEED": "1"},
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2", "NESCIO_TEST_SEED": "2"},
    {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"OMP_NUM_THREADS": "2"},
)
"""Each choice of kernels once, two threads once, and three seeds, some of them together."""

ROW = "{:62} {:>7} {:>7} {:>8}\n"


def main(arguments: Sequence[str]) -> int:
    sys.stdout.write(ROW.format("setting", "passed", "failed", "seconds"))
    names = [run(setting, arguments) for setting in SETTINGS]
    return int(any(names))


def run(setting: Mapping[str, str], arguments: Sequence[str]) -> list[str]:
    """Run the tests under a setting, print its row, and give the names of those that failed."""
    named = " ".join(f"{name}={value}" for name, value in setting.items()) or "as it is"
    parallel = ("-n", "logical", "--maxprocesses", "8", "--dist", "loadfile")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "tests.xml")
        options = ("-p", "no:cacheprovider", f"--junit-xml={record}")
        command = [sys.executable, "-m", "pytest", *parallel, *options, *arguments]
        done = subprocess.run(
            command, env={**os.environ, **setting}, capture_output=True, text=True, check=False
        )
        tree = ElementTree.parse(record) if record.exists() else None  # noqa: S314 - pytest's own
    cases = [] if tree is None else list(tree.iter("testcase"))
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    passed = sum(len(case) == 0 for case in cases)
    if done.returncode and not failed:
        failed = [f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"]
    seconds = round(time.monotonic() - begun)
    sys.stdout.write(ROW.format(named, passed, len(failed), seconds))
    sys.stdout.writelines(f"    {name}\n" for name in failed)
    sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
