"""Files that one run at a time writes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nescio.errors import UsageError
from nescio.files import claimed

HOLD = """
import sys, time
from pathlib import Path
from nescio.files import claimed

with claimed(Path(sys.argv[1]), Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    target, lock = tmp_path / "a.csv", tmp_path / "made" / ".lock"
    command = [sys.executable, "-c", HOLD, str(target), str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(UsageError) as told, claimed(target, lock):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
    assert str(told.value) == (
        f"{target}: another run is writing there; wait for it, or name another (if there is no "
        f"such run, remove {lock})"
    )
    assert lock.exists()  # its owner had no time to remove it
    with claimed(target, lock), pytest.raises(UsageError), claimed(target, lock):
        pass
    assert not lock.exists()
