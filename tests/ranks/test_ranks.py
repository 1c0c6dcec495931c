"""Processes of one job: what they add up, gather, agree on; alone and three together."""

import json
from pathlib import Path

import pytest
import torch
from processes import run_job

from nescio.cli import main
from nescio.errors import DataError, UsageError
from nescio.launch import ALONE, Place, find_place
from nescio.ranks import SOLO, agree, exchange, gather_rows, join_ranks, share_of, together, total_


@pytest.mark.slow
def test_three_processes_talk(tmp_path: Path) -> None:
    status, _, err = run_job([Path(__file__).with_name("talking.py"), tmp_path], 3)
    assert status == 0, err
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert [each["rank"] for each in found] == [0, 1, 2]
    # Shares cover all once, and differ by at most one.
    assert [len(each["share"]) for each in found] == [2, 2, 3]
    assert [place for each in found for place in each["share"]] == list(range(7))
    for each in found:
        assert each["size"] == 3
        assert each["said"] == ["", "I am 1 \N{SNOWMAN}", "I am 2 \N{SNOWMAN}" * 2]
        assert each["rows"] == [[], [[1, 1]], [[2, 2], [2, 2]]]
        assert each["sums"] == [[[3.0, 3.0], [3.0, 3.0]], 3.0]
        other, one, all_ = each["errors"]
        assert other == [
            "process 1 has other data than process 0 (a, not b); all processes must be given "
            "the same",
            True,
        ]
        assert one == ["DistributedError", "process 1 of 3: no such file", True]
        assert all_ == ["DataError", "no such file", True]


def test_one_process_alone_talks_to_itself() -> None:
    assert exchange(SOLO, "x") == ["x"]
    rows = torch.arange(3)
    assert gather_rows(SOLO, rows)[0] is rows
    total_(SOLO, [rows])
    assert rows.tolist() == [0, 1, 2]
    assert share_of(SOLO, 5) == slice(0, 5)
    agree(SOLO, {"data": "a"})
    with pytest.raises(DataError, match=r"^it$") as caught, together(SOLO):
        raise DataError("it")
    assert not caught.value.shared


def test_where_no_launcher_started_others_a_process_is_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert find_place() == ALONE
    assert join_ranks() is SOLO
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    # Slurm and others set some of these for jobs that are no torchrun's.
    assert find_place() == ALONE
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_place() == Place(1, 4, 2)
    monkeypatch.setenv("WORLD_SIZE", "four")
    assert find_place() == ALONE


def test_what_is_the_work_of_one_process_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    waited: list[float] = []
    monkeypatch.setattr("nescio.cli.app.time.sleep", waited.append)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert main(["evaluate", "m.nescio", "digits"]) == 2
    err = capsys.readouterr().err
    assert err.count("error:") == 1
    assert len(waited) == 1  # the second process lets the first one speak
    assert "nescio evaluate: is the work of one process; start it without torchrun" in err


def test_without_the_extra_one_line_names_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setitem(__import__("sys").modules, "lightning_fabric", None)
    with pytest.raises(UsageError, match=r"pip install 'nescio\[distributed\]'") as caught:
        join_ranks()
    assert caught.value.shared
