"""No file of a folder is lost without a word, whatever people leave in it.

A tree is made, and what is in it is known: every file is answered, or told as left out.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import Made, Plan, build, plans, refusing

from nescio.cli.app import main
from nescio.names import path_of, printable

FEW = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(FEW, max_examples=25)

PARTS = ("train", "calibration", "test")


@contextmanager
def tree(plan: Plan) -> Iterator[Made]:
    with tempfile.TemporaryDirectory() as place, refusing():
        made = build(plan, Path(place) / "set")
        yield made
        for folder in made.closed:
            folder.chmod(0o700)


class Command:
    """Runs a command, and reads what it tells."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: object) -> int:
        status = main([str(each) for each in arguments])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.err
        assert "\x1b" not in self.out + self.err
        return status

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]

    def told(self, pattern: str) -> int:
        """The sum of what notes count."""
        return sum(int(number) for number in re.findall(pattern, self.err))


def check_left_out(command: Command, made: Made) -> None:
    """What is no image, is closed or leads back is counted, each once."""
    assert command.told(r"(\d+) files? (?:is|are) skipped") == made.others
    assert command.told(r"(\d+) links? (?:to a folder is|are) not followed") == made.links
    assert command.err.count("cannot be opened") == len(made.closed)


def answered(lines: str) -> dict[Path, bool]:
    """The images of answers, and whether each could be read."""
    records = [json.loads(line) for line in lines.splitlines()]
    found = {Path(path_of(record["image"])): "error" not in record for record in records}
    assert len(found) == len(records)
    return found


def check_predict(plan: Plan, model: Path, command: Command) -> None:
    with tree(plan) as made:
        if not made.images():
            assert command("predict", model, made.root, "--skip-unreadable") == 2
            assert "no images in this folder" in command.errors[0]
            return
        skip = ["--skip-unreadable"]
        if made.closed:
            assert command("predict", model, made.root) == 2
            assert (command.out, len(command.errors)) == ("", 1)
            assert "closed: this folder cannot be opened (Permission denied)" in command.err
        good = {file: True for own in made.good.values() for file in own}
        expected = good | {file: False for own in made.bad.values() for file in own}
        status = 2 if made.bad else 0
        arguments = ("predict", model, made.root, "--samples", "2", *skip)
        assert command(*arguments, "--json") == status
        assert answered(command.out) == expected
        check_left_out(command, made)
        out = made.root.parent / "answers.jsonl"
        assert command(*arguments, "--out", out) == status
        assert answered(out.read_text(encoding="utf-8")) == expected
        check_left_out(command, made)
        page = made.root.parent / "page.html"
        assert command("review", model, made.root, "--out", page, "--samples", "2", *skip) == status
        assert f"of {len(expected)} looked through" in command.out
        check_left_out(command, made)


def expected_counts(made: Made, *, drop: bool) -> dict[str, dict[str, int]] | None:
    """How many images of each class training may use; ``None`` where it has to stop."""
    given = {"train", *made.parts}
    classes = {name for part, name in [*made.good, *made.bad] if part == "train"}
    if any(name not in classes for part, name in made.good if part == "calibration"):
        return None
    if made.empty and not drop:
        return None
    counts = {n: len(made.good.get(("train", n), [])) for n in classes}
    needed = len(set(PARTS) - given) + 1
    rare = {name for name, count in counts.items() if count < needed}
    if len(classes) < 2 or (rare and not drop) or len(classes - rare) < 2:
        return None
    kept = classes - rare
    if "calibration" in given and not any(made.good.get(("calibration", n)) for n in kept):
        return None
    return {
        part: {n: len(made.good.get((part, n), [])) for n in kept}
        for part in PARTS
        if part in given
    }


def check_dry_run(plan: Plan, drop: bool, command: Command) -> None:
    more = ["--drop-rare"] if drop else []
    with tree(plan) as made:
        run = ("train", made.root, "--dry-run", "--json", "--network", "mlp", *more)
        if made.bad or made.closed:
            assert command(*run) == 2
            assert (command.out, len(command.errors)) == ("", 1)
        expected = expected_counts(made, drop=drop)
        status = command(*run, "--skip-unreadable")
        if expected is None:
            assert status == 2
            assert (command.out, len(command.errors)) == ("", 1)
            return
        assert status == 0, command.err
        check_left_out(command, made)
        found = json.loads(command.out)
        counts, kept = found["counts"], {printable(name) for name in expected["train"]}
        assert set(found["classes"]) == kept
        for part in ("calibration", "test"):
            if part in expected:
                own = {printable(name): n for name, n in expected[part].items()}
                assert {name: n for name, n in counts[part].items() if name in kept} == own
        free = [part for part in PARTS if part == "train" or part not in expected]
        for name, images in expected["train"].items():
            assert sum(counts[part][printable(name)] for part in free) == images
        unread = command.told(r"(\d+) images cannot be read and are left out")
        assert unread == sum(map(len, made.bad.values()))
        # What is used, and what is told as left out, is all that was given.
        used = sum(sum(own.values()) for own in counts.values())
        rare = sum(
            len(files)
            for (part, name), files in made.good.items()
            if printable(name) not in kept
            and (part != "test" or printable(name) not in counts["test"])
        )
        assert used + rare == sum(map(len, made.good.values()))
        learnable = {name for part, name in [*made.good, *made.bad] if part == "train"}
        told = command.told(r"(\d+) of \d+ classes have too few images")
        assert told == len({printable(name) for name in learnable} - kept)


@given(plan=plans())
@FEW
def test_predict_and_review(
    plan: Plan, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_predict(plan, model_file, Command(capsys))


@pytest.mark.slow
@given(plan=plans())
@MANY
def test_predict_and_review_of_many(
    plan: Plan, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_predict(plan, model_file, Command(capsys))


@given(plan=plans(), drop=st.booleans())
@FEW
def test_a_dry_run(plan: Plan, drop: bool, capsys: pytest.CaptureFixture[str]) -> None:
    check_dry_run(plan, drop, Command(capsys))


@pytest.mark.slow
@given(plan=plans(), drop=st.booleans())
@settings(MANY, max_examples=100)
def test_a_dry_run_of_many(plan: Plan, drop: bool, capsys: pytest.CaptureFixture[str]) -> None:
    check_dry_run(plan, drop, Command(capsys))
