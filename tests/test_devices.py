"""Where to compute, and how precisely."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nescio import devices
from nescio.devices import choose_device, choose_precision, lowered, peak_memory
from nescio.errors import UsageError

CPU = torch.device("cpu")


def test_devices_by_name() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device(CPU) is CPU
    with pytest.raises(UsageError, match="--device steam: not on this machine; there is"):
        choose_device("steam")


def test_precisions_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("float32", CPU) == torch.float32
    assert choose_precision("bfloat16", CPU) == torch.bfloat16
    with pytest.raises(UsageError, match="--precision float8: expected one of auto, float32"):
        choose_precision("float8", CPU)
    monkeypatch.setattr(devices.platform, "machine", lambda: "aarch64")
    for times, expected in (([1.0, 0.3], torch.bfloat16), ([1.0, 0.4], torch.float32)):
        devices._has_matrix_units.cache_clear()
        measured = iter(times)
        monkeypatch.setattr(devices, "_seconds", lambda _, m=measured: next(m))
        assert choose_precision("auto", CPU) == expected
        assert choose_precision("auto", CPU) == expected  # measured once
    devices._has_matrix_units.cache_clear()


def test_a_busy_machine_does_not_choose_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(_: object) -> float:
        raise AssertionError("the time was taken")

    monkeypatch.setattr(devices, "_seconds", measured)
    monkeypatch.setattr(devices.platform, "machine", lambda: "x86_64")
    for has, expected in ((True, torch.bfloat16), (False, torch.float32)):
        devices._has_matrix_units.cache_clear()
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=has: has)
        assert choose_precision("auto", CPU) == expected
    devices._has_matrix_units.cache_clear()


def test_lowered_changes_products_only_where_asked() -> None:
    x = torch.ones(2, 2)
    with lowered(CPU, torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
    with lowered(CPU, torch.float32):
        assert (x @ x).dtype == torch.float32


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells it there")
def test_peak_memory_holds_what_is_held() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    # Of what is resident now, a little may have come since the kernel last counted.
    assert peak_memory() > 0.9 * pages * resource.getpagesize()


@pytest.mark.slow
def test_peak_memory_is_this_process_own() -> None:
    before = peak_memory()
    held = bytearray(b"x" * (before + 2**28))
    assert peak_memory() - before > 2**28
    program = "from nescio.devices import peak_memory; print(peak_memory())"
    run = [sys.executable, "-c", program]
    other = int(subprocess.run(run, capture_output=True, check=True).stdout)
    # ru_maxrss of that process would say at least what this one held when it began.
    assert 2**24 < other < len(held)


def test_the_package_needs_nothing_that_is_of_unix_alone() -> None:
    program = "import sys; sys.modules['resource'] = None; import nescio, nescio.cli.app"
    subprocess.run([sys.executable, "-c", program], check=True)
