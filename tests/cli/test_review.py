"""``nescio review``, and the way back into training."""

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scoring_support import write_idx
from tests_support import QUICK as TRAINING
from tests_support import stripes, write_folder

import nescio
from nescio.cli import main
from nescio.data import Dataset, read_labels
from nescio.names import printable

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Outcome = tuple[int, str, str]
QUICK = ("--samples", "4", "--quiet")
REFUSE = ("--rule", "0.01:0.999999")
"""Whoever is not as sure as that in every network is refused: here all are."""


class Cli:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Outcome:
        self.capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return status, *self.capsys.readouterr()


@pytest.fixture(scope="module")
def unsure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt so little that it is sure of nothing."""
    path = tmp_path_factory.mktemp("unsure") / "unsure.nescio"
    data = Dataset("stripes", stripes(90, 0), stripes(30, 1))
    recipe = replace(TRAINING, epochs=1)
    nescio.fit("mlp", data, recipe=recipe, samples=2, max_refusal=0.5).save(path)
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def content(page: Path) -> dict[str, list[str]]:
    text = page.read_text(encoding="utf-8")
    found = text.split('<script type="application/json" id="review">', 1)[1]
    return json.loads(found.split("</script>", 1)[0])


def test_a_folder(cli: Cli, unsure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "photos", stripes(9, 3))
    monkeypatch.chdir(tmp_path)
    status, out, err = cli("review", unsure, "photos", "--out", "r.html", *REFUSE, *QUICK)
    assert (status, out, err) == (0, "r.html: 9 refused images, of 9 looked through\n", "")
    page = content(tmp_path / "r.html")
    assert sorted(page["images"]) == sorted(map(str, (tmp_path / "photos").rglob("*.png")))
    assert page["classes"] == ["left", "right", "top"]

    status, out, err = cli(
        "review", unsure, "photos", "--out", "r.html", *REFUSE, "--limit", "4", "--force",
        "--samples", "4",
    )  # fmt: skip
    assert out == "r.html: 4 of 9 refused images, of 9 looked through\n"
    assert "note: 5 more images are not on the page: --limit shows more" in err
    assert "predicting: 36/36 image samples" in err
    assert "fetching images for the page: 4/4 images" in err

    status, out, _ = cli("review", unsure, "photos", "--out", "n.html", "--rule", "none", *QUICK)
    assert (status, out) == (0, "n.html: 0 refused images, of 9 looked through\n")
    assert "Nothing to label" in (tmp_path / "n.html").read_text()
    status, out, _ = cli(
        "review", unsure, "photos", "--out", "a.html", "--rule", "none", "--all", *QUICK
    )
    assert (status, out) == (0, "a.html: 9 images, of 9 looked through\n")
    assert len(content(tmp_path / "a.html")["images"]) == 9


def test_test_images_of_its_own_set_are_not_to_be_labelled(
    cli: Cli, model_file: Path, data: nescio.Dataset, tmp_path: Path
) -> None:
    for name, train in (("own", data.train), ("other", stripes(90, 77))):
        folder = tmp_path / name
        folder.mkdir()
        write_idx(folder / "train-images-idx3-ubyte", train.images[:, 0].numpy())
        write_idx(folder / "t10k-images-idx3-ubyte", stripes(5, 8).images[:, 0].numpy())
        page = tmp_path / f"{name}.html"
        status, _, err = cli(
            "review", model_file, folder, "--out", page, "--all", "--samples", "10"
        )
        assert status == 0
        told = "takes no labels of them"
        assert (told in err) == (told in page.read_text()) == (name == "own")


@pytest.mark.parametrize("form", ["folder", "npz"])
def test_images_that_were_trained_on_are_told(
    cli: Cli, model_file: Path, data: nescio.Dataset, tmp_path: Path, form: str
) -> None:
    """Among others, which is how a set looks whose parts were chosen by seed."""
    own, other = data.train.subset(torch.arange(6)), stripes(5, 77)
    path = tmp_path / ("set" if form == "folder" else "set.npz")
    if form == "folder":
        write_folder(path / "a", own)
        write_folder(path / "b", other)
    else:
        both = torch.cat([own.images, other.images])[:, 0].numpy()
        np.savez(path, images=both, labels=np.arange(11) % 3)
    page = ("--out", tmp_path / "page.html", "--all", "--samples", "10")
    status, _, err = cli("review", model_file, path, *page)
    assert status == 0
    assert "6 of its 11 images were trained or calibrated on, and train --extra-labels takes" in err


def test_the_limit_is_that_of_the_library() -> None:
    from nescio.cli.review import review
    from nescio.report.review import LIMIT

    assert inspect.signature(review).parameters["limit"].default == LIMIT


def test_data_sets_name_images_that_training_finds(
    cli: Cli, unsure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("some.npz", images=stripes(5, 8).images[:, 0].numpy())
    assert cli("review", unsure, "some.npz", "--out", "r.html", *REFUSE, *QUICK)[0] == 0
    images = content(tmp_path / "r.html")["images"]
    assert sorted(images) == [f"{tmp_path / 'some.npz'}[{i}]" for i in range(5)]
    (tmp_path / "labels.csv").write_text("image,label\n" + "".join(f"{i},top\n" for i in images))
    read = read_labels(
        tmp_path / "labels.csv", ("left", "right", "top"), nescio.Preprocessing(1, 6, 6)
    )
    order = [int(name[-2]) for name in images]
    assert read.images.equal(stripes(5, 8).images[order])
    assert cli("review", unsure, "noise:3", "--out", "n.html", *REFUSE, *QUICK)[0] == 0
    assert sorted(content(tmp_path / "n.html")["images"]) == [f"noise:3[{i}]" for i in range(3)]


def test_unreadable_images_are_listed_and_told(cli: Cli, unsure: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", stripes(3, 3))
    (folder / "bro<ken.png").write_bytes(b"\x89PNG nothing more")
    page = tmp_path / "r.html"
    status, out, err = cli("review", unsure, folder, "--out", page, *REFUSE, *QUICK)
    assert status == 2
    assert out == f"{page}: 3 refused images, of 4 looked through\n"
    assert len(err.splitlines()) == 1
    assert err.startswith(f"error: {folder / 'bro<ken.png'}: not an image")
    assert err.endswith("; the page is written, and lists them\n")
    assert "bro&lt;ken.png: not an image" in page.read_text()
    assert len(content(page)["images"]) == 3


@pytest.mark.parametrize(
    "case",
    [
        (
            ["photos", "--out", "there.html"],
            "there.html exists; name another file, or overwrite it",
        ),
        (["photos", "--out", "."], "is a folder; name a file to write"),
        (["photos", "--out", "r.html", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["gone", "--out", "r.html"], "gone: no such file or folder"),
        (["photos", "--out", "r.html", "--rule", "x"], "x"),
    ],
)
def test_bad_input(
    cli: Cli,
    unsure: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[list[str], str],
) -> None:
    arguments, words = case
    write_folder(tmp_path / "photos", stripes(3, 3))
    (tmp_path / "there.html").write_text("labels that took an hour")
    monkeypatch.chdir(tmp_path)
    status, out, err = cli("review", unsure, *arguments, *QUICK)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert words in err
    assert len(err.splitlines()) == 1
    assert (tmp_path / "there.html").read_text() == "labels that took an hour"
    assert not (tmp_path / "r.html").exists()


def test_from_refusal_to_training(cli: Cli, browser: "Browser", tmp_path: Path) -> None:
    """Train, review, label in a browser, and train again with what was saved."""
    classes = ("<img src=x onerror=alert(1)>", 'a, "b"', "new\nline")
    data = write_folder(
        tmp_path / "data",
        nescio.ImageSet("data", stripes(90, 2).images, stripes(90, 2).labels, classes),
    )
    photos = tmp_path / 'pho"tos, <new>'
    photos.mkdir()
    for i, file in enumerate(sorted(write_folder(tmp_path / "x", stripes(4, 5)).rglob("*.png"))):
        file.rename(photos / f'a,\n"{i}" &amp; <b>.png')
    model, page, labels = (tmp_path / name for name in ("m.nescio", "r.html", "down/labels.csv"))
    train = ("train", data, "--network", "mlp", "--epochs", "1", "--max-refusal", "0.5", *QUICK)
    assert cli(*train, "--out", model)[0] == 0
    status, _, err = cli("review", model, photos, "--out", page, *REFUSE, *QUICK)
    assert (status, err) == (0, "")
    with browser.new_context() as context:
        opened = context.new_page()
        opened.goto(page.as_uri())
        for key in ("1", "2", "-", "3"):
            opened.keyboard.press(key)
        with opened.expect_download() as download:
            opened.click("text=Save CSV")
        download.value.save_as(labels)
    status, out, err = cli(*train, "--out", tmp_path / "n.nescio", "--extra-labels", labels)
    assert (status, err) == (0, "")
    assert "(3 of them extra)" in out
    again = nescio.load_model(tmp_path / "n.nescio")
    assert again.record.extra_images == 3
    assert again.classes == tuple(sorted(map(printable, classes)))
