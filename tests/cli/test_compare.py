"""``nescio evaluate --study`` and ``nescio compare``, as a person or a script meets them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_studies import make_up
from tests_support import stripes, write_folder

from nescio.classifier import common_familiar_sets, familiar_set, load_model
from nescio.cli import main
from nescio.data import Dataset, load
from nescio.errors import DataError
from nescio.evaluation import read_study, study_to_json, write_study
from nescio.files import check_output
from nescio.refusal import NeverRefuse, QuantileRule

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def fails(outcome: tuple[int, str, str]) -> str:
    status, out, err = outcome
    assert (status, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err
    return line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "new", stripes(60, 9))


QUICK = ("--samples", "4", "--resamples", "50", "--quiet")


def test_a_study_is_written_and_compared(
    cli: Run, model_file: Path, folder: Path, tmp_path: Path
) -> None:
    studies = []
    for name, rule in (("a", "calibrated"), ("b", "median:0.9")):
        path = tmp_path / f"{name}.json"
        status, out, err = cli(
            *("evaluate", model_file, folder, "--ood", "noise:20", "--ood", f"{folder}@blur:4"),
            *("--rule", rule, "--rule", "none", "--corruptions", "blur"),
            *("--corruption-images", 10, "--study", path, "--json", *QUICK),
        )
        assert (status, err) == (0, "")
        record = json.loads(out)
        assert list(record["rules"]) == [rule, "none"]
        assert len(record["corruptions"]["blur"]["grades"]) == 6
        study = read_study(path)
        assert study.model.name == "stripes"
        assert study.command.endswith("--corruption-images 10 --resamples 50 --samples 4")
        assert record["nll"] == study.forced.nll.value
        studies.append(path)

    status, out, err = cli("compare", *studies, "--resamples", 50)
    assert status == 0, err
    for words in ("difference", "AUROC", "new: 60 test images", "stripes-2: median:0.9"):
        assert words in out
    status, out, _ = cli("compare", *studies, "--rule", "none", "--json", "--resamples", 50)
    assert status == 0
    record = json.loads(out)
    assert [model["rule"] for model in record["models"]] == ["none", "none"]
    assert record["figures"]["coverage"][1]["difference"]["value"] == 0.0
    assert list(record["ood"]) == ["noise", "new@blur:4"]


def test_models_are_compared_on_the_same_made_images(
    cli: Run, model_file: Path, folder: Path, data: Dataset, tmp_path: Path
) -> None:
    other = tmp_path / "other.nescio"
    more = write_folder(tmp_path / "more", stripes(90, 4))
    options = ("--epochs", "2", "--samples", "4", "--max-refusal", "0.2", "--seed", "7", "--quiet")
    assert cli("train", more, "--out", other, "--network", "mlp", *options)[0] == 0
    status, out, err = cli(
        *("compare", model_file, other, folder, "--ood", "noise:20", "--json", *QUICK)
    )
    assert (status, err) == (0, "")
    record = json.loads(out)
    assert [model["name"] for model in record["models"]] == ["stripes", "other"]
    assert record["ood"]["noise"]["n"] == 20
    accuracy = record["figures"]["forced_accuracy"]
    gap = accuracy[1]["value"] - accuracy[0]["value"]
    assert accuracy[1]["difference"]["value"] == pytest.approx(gap)


def test_models_of_two_seeds_are_compared_on_what_neither_has_seen(
    cli: Run, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "set", stripes(200, 4))
    options = ("--epochs", "1", "--samples", "4", "--max-refusal", "0.2", "--quiet")
    for seed in (0, 1):
        out = tmp_path / f"{seed}.nescio"
        status, _, err = cli(
            *("train", folder, "--out", out, "--network", "mlp", "--seed", seed, *options)
        )
        assert status == 0, err
    first, second = (load_model(tmp_path / f"{seed}.nescio", None, device="cpu") for seed in (0, 1))
    own = [familiar_set(each, folder) for each in (first, second)]
    shared = set(own[0].names) & set(own[1].names)
    assert 0 < len(shared) < len(own[0])
    paths = (tmp_path / "0.nescio", tmp_path / "1.nescio")
    status, out, err = cli("compare", *paths, folder, "--json", *QUICK[:-1])
    assert status == 0
    assert json.loads(out)["n"] == len(shared)
    assert f"compared on the {len(shared)} images that were held out of every model" in err

    whole = load(folder)
    apart = {name for each in own for name in each.names} - shared
    seen = [i for i in range(200) if whole.train.image_name(i) in apart]
    part = write_folder(tmp_path / "part", whole.train.subset(torch.tensor(seen)))
    with pytest.raises(DataError, match="each of its images was used to train or calibrate one"):
        common_familiar_sets([first, second], part)


def test_rules_stand_side_by_side(cli: Run, model_file: Path, folder: Path) -> None:
    status, out, _ = cli(
        *("evaluate", model_file, folder, "--rule", "median:0.2", "--rule", "0.1:0.999999"),
        *("--corruptions", "jpeg", "--corruption-images", 5, "--ood", "blank", *QUICK),
    )
    assert status == 0
    head = next(line for line in out.splitlines() if "0.1:0.999999" in line)
    assert "median:0.2" in head
    assert "corrupted by severity: answered" in out
    assert "50 resamples" in out


def test_nothing_answered_is_said(cli: Run, model_file: Path, tmp_path: Path) -> None:
    strange = stripes(30, 9)
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, strange.images.shape))
    folder = write_folder(tmp_path / "noise", replace(strange, images=noise.to(torch.uint8)))
    arguments = ("evaluate", model_file, folder, *QUICK)
    status, out, _ = cli(*arguments)
    assert status == 0
    assert "no image was answered" in out
    assert "nan" not in out.lower()
    record = json.loads(cli(*arguments, "--json")[1])
    assert record["accepted_accuracy"] is None
    assert record["ood"] == {}


def test_a_study_is_not_overwritten(
    cli: Run, model_file: Path, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s.json"
    path.write_text("mine")
    arguments = ("evaluate", model_file, folder, "--study", path, *QUICK)
    assert "exists; name another file, or overwrite it with --force" in fails(cli(*arguments))
    assert path.read_text() == "mine"
    assert cli(*arguments, "--force")[0] == 0
    assert read_study(path).test.name == "new"
    with pytest.raises(ValueError, match="is a folder"):
        check_output(tmp_path, force=True)
    check_output(tmp_path / "other.json", force=False)


def test_what_cannot_be_compared(cli: Run, model_file: Path, tmp_path: Path) -> None:
    paths = {}
    made = {
        "a": make_up(name="a"),
        "few": make_up(30, name="few"),
        "other": make_up(classes=("x", "y", "z"), name="other"),
    }
    for name, study in made.items():
        paths[name] = tmp_path / f"{name}.json"
        write_study(paths[name], study)
    old = tmp_path / "old.json"
    old.write_text(json.dumps(study_to_json(made["a"]) | {"version": 99}))
    a = paths["a"]
    for arguments, words in (
        ((a,), "a comparison needs two or more"),
        ((a, paths["few"]), "not judged on the same images of made (40 and 30)"),
        ((a, paths["other"]), "only models of the same classes"),
        ((a, old), "a study of version 99, this nescio reads version 1; update nescio"),
        ((a, tmp_path / "none.json"), "cannot be read"),
        ((a, paths["few"], "--ood", "noise"), "--ood is for models"),
        ((model_file, a), "comes last"),
        ((model_file, "digits"), "a comparison needs two or more"),
        ((a, paths["a"], "--rule", "calibrated"), "has no rule 'calibrated'"),
        ((a, paths["a"], "--resamples", "0"), "at least 1 resample"),
        ((), "a comparison needs two or more"),
    ):
        assert words in fails(cli("compare", *arguments)), arguments


def test_sets_of_some_are_left_out_and_told(cli: Run, tmp_path: Path) -> None:
    write_study(tmp_path / "a.json", make_up(name="a"))
    write_study(tmp_path / "b.json", make_up(name="b", shifted=()))
    status, _, err = cli("compare", tmp_path / "a.json", tmp_path / "b.json", "--resamples", 10)
    assert status == 0
    assert "not in all studies, and left out: noise" in err


def test_undefined_figures_are_dashes(cli: Run, tmp_path: Path) -> None:
    silent = make_up(rules=(QuantileRule(0.5, 0.9999999),), name="a")
    write_study(tmp_path / "a.json", silent)
    write_study(tmp_path / "b.json", make_up(rules=(NeverRefuse(),), name="b"))
    files = tmp_path / "a.json", tmp_path / "b.json"
    status, out, _ = cli("compare", *files, "--resamples", 10)
    assert status == 0
    row = next(line for line in out.splitlines() if "right when answered" in line)
    assert row.count("\u2013") == 2
    assert "nan" not in out.lower()


@pytest.mark.parametrize("option", ["--corruptions", "--corruption-images", "--resamples"])
def test_bad_options(cli: Run, model_file: Path, folder: Path, option: str) -> None:
    more = ("--corruptions", "blur") if option == "--corruption-images" else ()
    arguments = ("evaluate", model_file, folder, *more, "--samples", "2", "--quiet")
    line = fails(cli(*arguments, option, "0"))
    assert "0" in line


def test_two_hundred_classes_and_markup(cli: Run, tmp_path: Path) -> None:
    classes = tuple(f"[bold]{i}<b>" for i in range(200))
    for name in "ab":
        study = make_up(30, classes=classes, rules=(NeverRefuse(),), name=name)
        write_study(tmp_path / f"{name}.json", study)
    status, out, _ = cli(
        "compare", tmp_path / "a.json", tmp_path / "b.json", "--resamples", 5, "--json"
    )
    assert status == 0
    assert json.loads(out)["n"] == 30
    assert np.isfinite(json.loads(out)["figures"]["classwise_ece"][0]["value"])
