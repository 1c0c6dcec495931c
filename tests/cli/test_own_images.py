"""Images of one's own at the command line."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests_support import stripes, write_folder

from nescio.cli import main
from nescio.evaluation import read_study

QUICK = ("--epochs", "1", "--samples", "3", "--max-refusal", "0.3", "--network", "mlp")


class Run:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object, status: int = 0) -> tuple[str, str]:
        self.capsys.readouterr()
        found = main([str(a) for a in arguments])
        captured = self.capsys.readouterr()
        assert found == status, captured.err
        assert "Traceback" not in captured.err
        return captured.out, captured.err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "stripes", stripes(60, 2))


def test_what_images_are_brought_to_is_in_the_model(run: Run, folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.nescio"
    run(
        "train", folder, "--out", model, *QUICK,
        "--image-size", "8x5", "--colour", "rgb", "--fit", "stretch", "--balance", "sampled",
    )  # fmt: skip
    out, _ = run("info", model)
    told = " ".join(out.split())
    assert "8x5 colour; one of another size is scaled to height and width" in told
    header = json.loads(run("info", model, "--json")[0])
    chosen = {"channels": 3, "height": 8, "width": 5, "fit": "stretch"}
    assert chosen.items() <= header["preprocessing"].items()
    assert header["recipe"]["balance"] == "sampled"
    wide = tmp_path / "wide.png"
    Image.fromarray(np.full((3, 40), 200, np.uint8)).save(wide)
    answer = json.loads(run("predict", model, wide, "--json")[0])
    assert answer["image"] == str(wide)


def test_two_people_with_one_split(run: Run, folder: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.csv"
    one, two = tmp_path / "one.nescio", tmp_path / "two.nescio"
    run("train", folder, "--out", one, *QUICK, "--seed", "1", "--write-split", split)
    run("train", folder, "--out", two, *QUICK, "--seed", "2", "--split", split)
    tested = [
        json.loads(run("evaluate", model, folder, "--json", "--samples", "3", "--study",
                       tmp_path / f"{model.stem}.json")[0])
        for model in (one, two)
    ]  # fmt: skip
    assert tested[0]["n"] == tested[1]["n"] == 9
    studies = [read_study(tmp_path / f"{name}.json") for name in ("one", "two")]
    assert studies[0].test.names == studies[1].test.names
    assert "split fixed by a file, SHA-256" in " ".join(run("info", two)[0].split())
    more = tmp_path / "more.nescio"
    _, err = run("train", folder, "--out", more, *QUICK, "--write-split", split, status=2)
    assert "split.csv exists" in err
    split.write_text("image,part\n")
    _, err = run("train", folder, "--out", tmp_path / "x", *QUICK, "--split", split, status=2)
    assert "60 images of stripes are not in it" in err
    assert not (tmp_path / "x").exists()


def test_classes_never_seen_and_figures_by_class(
    run: Run, model_file: Path, tmp_path: Path
) -> None:
    model = model_file
    strange = write_folder(tmp_path / "new", stripes(9, 5))
    (strange / "both").mkdir()
    Image.fromarray(np.full((6, 6), 255, np.uint8)).save(strange / "both" / "0.png")
    _, err = run("evaluate", model, strange, "--samples", "3", status=2)
    assert "'both' is not one of" in err
    assert "--unknown-classes unfamiliar" in err
    told = json.loads(
        run("evaluate", model, strange, "--samples", "3", "--json", "--quiet",
            "--unknown-classes", "unfamiliar", "--ood", "noise:5")[0]
    )  # fmt: skip
    assert told["n"] == 9
    assert {name: each["n"] for name, each in told["ood"].items()} == {
        "unknown classes": 1,
        "noise": 5,
    }
    assert {name: each["n"] for name, each in told["classes"].items()} == {
        "left": 3,
        "right": 3,
        "top": 3,
    }
    out, _ = run("evaluate", model, strange, "--samples", "3", "--unknown-classes", "unfamiliar")
    assert "by class" in out
    assert "unknown classes" in out


def test_unreadable_images(run: Run, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", stripes(60, 2))
    (folder / "left" / "0000.png").write_bytes(b"broken")
    model = tmp_path / "m.nescio"
    _, err = run("train", folder, "--out", model, *QUICK, status=2)
    assert "0000.png: not an image" in err
    assert "--skip-unreadable" in err
    _, err = run("train", folder, "--out", model, *QUICK, "--skip-unreadable")
    assert "1 images cannot be read and are left out" in err
    out, _ = run("evaluate", model, folder, "--samples", "3", "--json", "--skip-unreadable")
    assert json.loads(out)["n"] == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--image-size", "0"), "--image-size must be between 1 and 4096"),
        (("--image-size", "8x"), "--image-size must be a side or HEIGHTxWIDTH"),
        (("--colour", "green"), "colour"),
        (("--fit", "squeeze"), "fit"),
        (("--balance", "fair"), "balance"),
        (("--memory", "lots"), "--memory must be a size such as 500M"),
        (("--split", "nowhere.csv"), "nowhere.csv: cannot be read"),
    ],
)
def test_options_that_cannot_be(
    run: Run, folder: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    out, err = run("train", folder, "--out", tmp_path / "m", *options, status=2)
    assert message in err
    assert out == ""
    assert not (tmp_path / "m").exists()


def test_a_single_shard_is_a_set_and_no_image(
    run: Run, folder: Path, model_file: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for path in sorted((folder / "left").iterdir())[:3]:
            archive.add(path, path.name)
    out, _ = run("predict", model_file, tmp_path / "set.tar", "--json")
    names = [json.loads(line)["image"] for line in out.splitlines()]
    assert names == ["set.tar/0000.png", "set.tar/0003.png", "set.tar/0006.png"]
