"""The commands as a person or a script meets them."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests_support import stripes, write_folder

from nescio.cli import main

Outcome = tuple[int, str, str]


class Cli:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Outcome:
        self.capsys.readouterr()
        status = main([str(a) for a in arguments])
        captured = self.capsys.readouterr()
        return status, captured.out, captured.err

    def fails(self, *arguments: object) -> str:
        """Run a command that must fail as bad input does; give its one line."""
        status, out, err = self(*arguments)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert status == 2, err
        assert len(lines) == 1
        assert "Traceback" not in err
        assert out == ""
        return lines[0]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "stripes", stripes(120, 2))


QUICK = ("--epochs", "2", "--samples", "4", "--max-refusal", "0.2")


def test_train_evaluate_predict_info(cli: Cli, folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "new" / "m.nescio"
    status, out, err = cli("train", folder, "--out", model, *QUICK)
    assert status == 0, err
    assert "cnn on stripes, 93 training and 9 calibration images, 3 classes (left, " in out
    assert "pass 2/2: ELBO" in err

    status, out, err = cli(
        "evaluate", model, folder, "--ood", "noise:20", "--ood", "letters:10", "--json",
        "--samples", "4", "--quiet", "--report", tmp_path / "r.html",
    )  # fmt: skip
    assert (status, err) == (0, "")
    record = json.loads(out)
    assert (record["data"], record["n"]) == ("stripes", 18)
    assert list(record["ood"]) == ["noise", "letters"]
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")

    again = ("evaluate", model, folder, "--samples", "4", "--report", tmp_path / "r.html")
    before = (tmp_path / "r.html").read_bytes()
    assert "overwrite it with --force" in cli.fails(*again)
    assert (tmp_path / "r.html").read_bytes() == before
    assert cli(*again, "--force")[0] == 0
    assert "No strange images were tried" in (tmp_path / "r.html").read_text()

    status, out, _ = cli("evaluate", model, folder, "--samples", "4", "--rule", "median:0.2")
    assert status == 0
    assert "right when answered" in out
    assert "the median of its sampled probabilities exceeds 0.2" in out

    status, out, _ = cli("info", model)
    assert status == 0
    for words in ("3,075 random parameters", "6x6 grey", "left, right, top", "1 (the ELBO)"):
        assert words in out
    assert json.loads(cli("info", model, "--json")[1])["format"] == 7


def test_same_seed_same_file(cli: Cli, folder: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert cli("train", folder, "--out", tmp_path / name, "--seed", seed, *QUICK)[0] == 0
    digests = {
        name: json.loads(cli("info", tmp_path / name, "--json")[1])["digest"] for name in "abc"
    }
    assert digests["a"] == digests["b"] != digests["c"]


def test_predict_json_in_input_order_with_errors(
    cli: Cli, model_file: Path, folder: Path, tmp_path: Path
) -> None:
    images = sorted((folder / "left").iterdir())[:3]
    bad = tmp_path / "bad.png"
    bad.write_bytes(images[0].read_bytes()[:40])
    missing = tmp_path / "missing.png"
    status, out, err = cli(
        "predict", model_file, images[0], bad, images[1], missing, images[2], "--json",
        "--samples", "20", "--samples-fixed",
    )  # fmt: skip
    assert status == 2
    assert err.count("error: ") == 1
    assert "bad.png" in err
    assert "the other images were answered" in err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["image"] for line in lines] == [
        str(p) for p in (images[0], bad, images[1], missing, images[2])
    ]
    assert set(lines[1]) == set(lines[3]) == {"image", "error"}
    assert "no such file" in lines[3]["error"]
    assert set(lines[0]) == {
        "image", "label", "accepted", "reason", "proposed", "probability", "median", "scores",
        "samples", "nearest", "stage",
    }  # fmt: skip
    assert lines[0]["samples"] == 20
    assert sum(lines[0]["probability"].values()) == pytest.approx(1, abs=1e-4)
    assert cli.fails("predict", model_file, tmp_path / "missing").count("missing") >= 1
    adaptive = cli("predict", model_file, *images, "--json", "--rule", "none")[1]
    assert all(json.loads(line)["samples"] < 100 for line in adaptive.splitlines())


def test_predict_folders_data_csv_and_pictures(
    cli: Cli, model_file: Path, folder: Path, tmp_path: Path
) -> None:
    table, pictures = tmp_path / "answers.csv", tmp_path / "pictures"
    status, out, err = cli(
        "predict", model_file, folder / "top", "noise:3", "--csv", table, "--plot", pictures,
        "--max-plots", "2", "--samples", "20",
    )  # fmt: skip
    assert status == 0, err
    lines = out.splitlines()
    assert len(lines) == 43
    assert lines[0].split("\t")[1].startswith(("top", "I don't know"))
    assert lines[-1].startswith("noise[2]\t")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 43
    assert {"image", "label", "accepted", "reason", "probability left"} <= set(rows[0])
    assert all(0 <= float(row["error_probability"]) <= 1 for row in rows)
    assert sorted(p.name[:5] for p in pictures.iterdir()) == ["0001-", "0002-"]
    assert "--max-plots" in err


def test_shifted_sets(cli: Cli, folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.nescio"
    assert cli("train", folder, "--out", model, *QUICK)[0] == 0
    options = ("--json", "--samples", "4", "--quiet")
    status, out, err = cli(
        "evaluate", model, f"{folder}@blur:1", "--ood", f"{folder}@inverted", "--ood", "natural:9",
        "--ood", "blank", *options,
    )  # fmt: skip
    assert (status, err) == (0, "")
    record = json.loads(out)
    assert (record["data"], record["n"]) == ("stripes@blur:1", 18)
    assert {name: ood["n"] for name, ood in record["ood"].items()} == {
        "stripes@inverted": 120, "natural": 9, "blank": 1,
    }  # fmt: skip
    status, out, _ = cli("predict", model, f"{folder}@turned", "checkerboard:2", *options)
    names = [json.loads(line)["image"] for line in out.splitlines()]
    assert (status, len(names)) == (0, 122)
    assert names[0].endswith(".png")
    assert names[-1] == "checkerboard[1]"
    for source, words in (
        (f"{folder}@blurr", "did you mean 'blur'?"),
        (f"{folder}@blur:9", "a whole number from 1 to 5, got '9'"),
        (f"{folder}@pairs", "has no labels: use it with evaluate --ood"),
        ("checkerboard", "use it with evaluate --ood"),
    ):
        assert words in cli.fails("evaluate", model, source, "--quiet")


def test_predictions_do_not_depend_on_company(cli: Cli, model_file: Path, folder: Path) -> None:
    one = sorted((folder / "right").iterdir())[7]
    alone = json.loads(cli("predict", model_file, one, "--json", "--samples", "8")[1])
    among = cli("predict", model_file, folder / "right", "--json", "--samples", "8")[1]
    same = [json.loads(line) for line in among.splitlines()][7]
    assert alone["image"] == same["image"]
    assert alone["probability"] == pytest.approx(same["probability"], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "digits", "--json"], "--json belongs to --dry-run"),
        (["train", "*.tar"], "it has no name for the model; name its file with --out"),
        (["train", "mnits", "--out", "m"], "did you mean 'mnist'"),
        (["train", "noise", "--out", "m"], "use it with evaluate --ood"),
        (["train", "digits@blur:2", "--out", "m"], "digits@blur:2 is a shifted set"),
        (["train", "digits", "--out", "m", "--recipe", "best"], "best"),
        (["train", "digits", "--out", "m", "--epochs", "0"], "--epochs must be at least 1"),
        (["train", "digits", "--out", "m", "--epochs", "many"], "many"),
        (["train", "digits", "--out", "m", "--prior", "cauchy"], "unknown family"),
        (["train", "digits", "--out", "m", "--network", "resnet"], "unknown network"),
        (["train", "digits", "--out", "m", "--posterior", "mean"], "unknown posterior 'mean'"),
        (["train", "digits", "--out", "m", "--posterior", "ensemble:1"], "from 2 to 1,000"),
        (["train", "digits", "--out", "m", "--posterior", "hmc"], "too many (at most 2,000)"),
        (
            ["train", "digits", "--out", "m", "--posterior", "ensemble", "--random", "head"],
            "--random must be all, or left out, got head",
        ),
        (
            ["train", "digits", "--out", "m", "--posterior", "ivon", "--compile"],
            "--compile is for mean fields alone",
        ),
        (["train", "digits", "--out", "m", "--max-refusal", "2"], "--max-refusal"),
        (["train", "digits", "--out", "m", "--learning-rate", "-1"], "--learning-rate"),
        (["train", "digits", "--out", "m", "--rule", "median:1.5"], "threshold must be between"),
        (["train", "digits", "--out", "m", "--rule", "0:0.5"], "quantile must be between"),
        (["train", "digits", "--out", "m", "--device", "tpu"], "not on this machine"),
        (
            ["train", "digits", "--out", "m", "--augment", "twist:2"],
            "expected auto, none, or shift:",
        ),
        (["train", "digits", "--out", "m", "--estimator", "global"], "global"),
        (
            ["train", "digits", "--out", "m", "--engine", "pyro", "--estimator", "local"],
            "--estimator must be shared",
        ),
        (["train", "digits", "--out", "."], "is a folder"),
        (["evaluate", "none.nescio", "digits"], "no such model file"),
        (["predict", "none.nescio", "x.png"], "no such model file"),
        (["predict", "none.nescio"], "name at least one image"),
        (["info", "none.nescio"], "no such model file"),
        (["nonsense"], "nonsense"),
        (["reproduce", "nowhere"], "no such file or folder"),
    ],
)
def test_bad_usage(
    cli: Cli, arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in cli.fails(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digits"], "class '0' is not one of the model's 3 classes"),
        (["noise:5"], "use it with evaluate --ood"),
        (["digits", "--rule", "median:7"], "threshold must be between"),
        (["digits", "--rule", "best"], "unknown rule"),
        (["digits", "--samples", "0"], "--samples must be at least 1"),
        (["FOLDER", "--ood", "noise:0"], "the count must be"),
        (["digits", "--report", "/proc/no/report.html"], "cannot write"),
    ],
)
def test_bad_evaluations(
    cli: Cli, model_file: Path, folder: Path, arguments: list[str], words: str
) -> None:
    data, *options = arguments
    source = folder if data == "FOLDER" else data
    assert words in cli.fails("evaluate", model_file, source, *options)


def test_a_bad_image_in_a_training_folder_is_named(cli: Cli, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", stripes(30, 0))
    (folder / "top" / "zero.png").write_bytes(b"")
    assert "zero.png" in cli.fails("train", folder, "--out", tmp_path / "m", *QUICK)
    assert not (tmp_path / "m").exists()


def test_an_old_model_survives_a_failed_training(cli: Cli, folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    model.write_bytes(b"the old model")
    assert "overwrite it with --force" in cli.fails("train", folder, "--out", model, *QUICK)
    line = cli.fails("train", folder, "--out", model, "--force", "--learning-rate", "1e30", *QUICK)
    assert "diverged" in line
    assert "lower --learning-rate" in line
    assert model.read_bytes() == b"the old model"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_write_permission(cli: Cli, folder: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot write" in cli.fails("train", folder, "--out", tmp_path / "m", *QUICK)


def test_float_images_outside_are_told(cli: Cli, model_file: Path, tmp_path: Path) -> None:
    images = np.zeros((2, 6, 6))
    images[1, 0, 0] = np.nan
    np.savez(tmp_path / "a.npz", images=images)
    assert "image 1 has nan" in cli.fails("predict", model_file, tmp_path / "a.npz")


def test_an_image_of_another_size_and_colour_is_adapted(
    cli: Cli, model_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(path)
    status, out, _ = cli("predict", model_file, path, "--json", "--samples", "3")
    assert status == 0
    assert json.loads(out)["image"] == str(path)


def test_choices_of_training_are_recorded(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(_: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr("torch.compile", lambda _: no_compiler)
    model = tmp_path / "m.nescio"
    status, _, err = cli(
        "train", folder, "--out", model, *QUICK, "--augment", "shift:1,flip", "--estimator",
        "flipout", "--random", "head", "--scale", "exp", "--compile",
    )  # fmt: skip
    assert status == 0, err
    assert err.count("--compile: the network cannot be compiled here") == 1
    recipe = json.loads(cli("info", model, "--json")[1])["recipe"]
    assert recipe["scale"] == "exp"
    assert recipe["augment"] == "shift:1,flip"
    assert recipe["estimator"] == "flipout"


@pytest.mark.parametrize(
    "case",
    [
        ("return self.layer(x.flatten(1)), x", "must give one tensor of logits, got tuple"),
        ("return x.flatten(1) @ self.held[0].T", "layer 'layer' (Linear) does not compute with"),
        ("return self.layer(x.flatten(1)).sigmoid().add_(1).mul_(2)", "in place"),
        ("return torch.empty(2**55)", "out of memory while training; lower --batch-size"),
    ],
)
def test_networks_that_do_not_work_leave_no_model(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str]
) -> None:
    body, words = case
    (tmp_path / "broken.py").write_text(
        "import torch\n"
        "class Broken(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(36, 3)\n"
        "        self.held = [self.layer.weight]\n"
        "    def forward(self, x):\n"
        f"        {body}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    model = tmp_path / "m.nescio"
    said = cli.fails("train", folder, "--out", model, *QUICK, "--network", "broken:Broken")
    assert words in said
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".nescio"] == []


def test_help_teaches(cli: Cli) -> None:
    status, out, _ = cli("--help")
    assert status == 0
    for command in ("demo", "train", "evaluate", "compare", "predict", "info", "reproduce"):
        assert command in out
        assert cli(command, "--help")[0] == 0
    assert cli("--version")[1].strip() == "0.1.0"


def test_help_groups_options_and_flows(cli: Cli) -> None:
    out = cli("train", "--help")[1]
    groups = [line for line in out.splitlines() if line.startswith("╭")]
    for name in ("Images", "Posterior", "Pretrained networks", "Promises", "Training"):
        assert any(f" {name} " in line for line in groups)
    # A line ends where the column does, not where the source's line did.
    assert "     user's cache" not in out


def test_a_misused_option_is_told_without_doubled_stops(cli: Cli) -> None:
    status, _, err = cli("train", "digits", "--out", "x.nescio", "--balance", "odd")
    assert status == 2
    assert '"sampled"; see nescio --help' in err


def start(*arguments: object) -> subprocess.Popen[str]:
    # A shell's background job ignores Ctrl-C, and so would its children.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", code + "from nescio.cli import run; run()"]
    command += map(str, arguments)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_fitted(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.nescio"
    model.write_bytes(b"the old model")
    saves = tmp_path / "saves"
    many = ("--epochs", "100000", "--samples", "2", "--checkpoint", saves)
    process = start("train", folder, "--out", model, "--force", *many)
    assert process.stderr is not None
    while "pass " not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    assert process.returncode == 130
    assert "training was stopped; the state after pass" in err
    assert f"go on from the checkpoints in {saves} with --resume" in err
    assert list(saves.glob("pass-*.safetensors"))
    assert model.read_bytes() == b"the old model"
    partial = tmp_path / "m.nescio.partial"
    assert main(["info", str(partial)]) == 0


DROPPED = """
import signal
import time
import nescio.cli.app as app

signal.signal(signal.SIGINT, signal.default_int_handler)

class Finalised:
    def __del__(self):
        print("in the finaliser", flush=True)
        time.sleep(60)

def work(arguments):
    Finalised()
    time.sleep(60)

app.main = work
try:
    app.run()
except KeyboardInterrupt:
    print("raised again")
"""


def test_ctrl_c_in_a_finaliser_is_not_lost() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DROPPED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in the finaliser\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=50)
    assert (out, err) == ("raised again\n", "")


def test_a_full_disk_loses_nothing(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rescue = tmp_path / "m.nescio", tmp_path / "rescue"
    model.write_bytes(b"the old model")
    rescue.mkdir()
    # A model of 330 kB meets a real limit on files, but only beside the old one.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lift_the_limit(*arguments: object, **options: object) -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        (rescue / "new").mkdir()
        return str(rescue / "new")

    monkeypatch.setattr("tempfile.mkdtemp", lift_the_limit)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        line = cli.fails("train", folder, "--out", model, "--force", *QUICK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "m.nescio: cannot be written" in line
    assert "File too large" in line
    assert f"the model is in {rescue / 'new' / 'm.nescio'} instead" in line
    assert model.read_bytes() == b"the old model"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.nescio", "rescue"]
    assert main(["info", str(rescue / "new" / "m.nescio")]) == 0


@pytest.mark.slow
def test_a_closed_pipe_is_no_failure(model_file: Path) -> None:
    process = start("predict", model_file, "noise:3000", "--samples", "1", "--quiet")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("noise[0]")
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 0


def test_torch_is_not_imported_for_help() -> None:
    code = "import sys, nescio.cli; sys.exit('torch' in sys.modules)"
    start_time = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert time.monotonic() - start_time < 10


@pytest.mark.slow
def test_demo_and_reproduce(cli: Cli, tmp_path: Path) -> None:
    status, out, err = cli("demo", "--out", tmp_path)
    assert status == 0, err
    assert "noise" in out
    assert "letters" in out
    report = (tmp_path / "report.html").read_text()
    assert len(report) < 5_000_000
    assert cli("predict", tmp_path / "digits.nescio", "letters:5", "--samples", "9")[0] == 0
