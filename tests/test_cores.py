"""How many cores are ours: affinity, and quotas of control groups of both versions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nescio.cores import available_cores


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A root with what Linux tells of control groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 5}, raising=False)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("50000 100000", 1),
        ("150000 100000", 2),
        ("900000 100000", 3),
        ("max 100000", 3),
        ("x", 3),
        ("1 0", 3),
    ],
)
def test_a_quota_of_version_2(quota: str, cores: int, tmp_path: Path) -> None:
    root = system(tmp_path, "0::/", {"cpu.max": quota})
    assert available_cores(root) == cores


@pytest.mark.parametrize(("quota", "cores"), [("100000", 1), ("120000", 2), ("-1", 3), ("", 3)])
def test_a_quota_of_version_1(quota: str, cores: int, tmp_path: Path) -> None:
    files = {"cpu,cpuacct/a/cpu.cfs_quota_us": quota, "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}
    root = system(tmp_path, "4:memory:/x\n3:cpu,cpuacct:/a\n0::/\n", files)
    assert available_cores(root) == cores


def test_the_group_above_counts_too(tmp_path: Path) -> None:
    files = {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}
    assert available_cores(system(tmp_path, "0::/a/b", files)) == 1


def test_in_a_container_the_own_group_may_be_the_root(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}
    assert available_cores(system(tmp_path, "1:cpu:/docker/0123", files)) == 2


def test_another_system_has_no_quota(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, ["PASSIVE", "100000", "False"]),
        ({"GOMP_SPINCOUNT": "7"}, ["PASSIVE", "7", "False"]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", "None", "False"]),
    ],
)
def test_the_command_line_lets_threads_sleep_before_pytorch_is_loaded(
    given: dict[str, str], told: list[str]
) -> None:
    code = (
        "import os, sys; import nescio.cli.app as app; app.main = lambda _: 0\n"
        "try: app.run()\n"
        "except SystemExit: pass\n"
        "print(os.environ['OMP_WAIT_POLICY'], os.environ.get('GOMP_SPINCOUNT'),\n"
        "      'torch' in sys.modules)"
    )
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    own = {name: value for name, value in os.environ.items() if name not in ours} | given
    run = subprocess.run(
        [sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == told
