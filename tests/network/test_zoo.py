"""Networks of timm: what is asked of it, what it says of them, and what is said without it."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests_support import QUICK, stripes
from torch import Tensor, nn

import nescio
from nescio.classifier import describe_model
from nescio.cli import main
from nescio.errors import ArchitectureError, ModelFileError, UsageError
from nescio.network import NetworkSpec, build, zoo_config

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)


class Tiny(nn.Module):
    """What stands for a network of timm: a trunk, and a classifier named as there."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, 6, 3, 2), nn.BatchNorm2d(6)
        self.fc = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(
            nn.functional.adaptive_avg_pool2d(self.bn1(self.conv1(x)).relu(), 2).flatten(1)
        )


@dataclass
class StandIn:
    """The part of timm's interface that nescio uses."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    fixed: bool = False

    def list_models(self) -> list[str]:
        return ["tiny", "resnet18"]

    def get_pretrained_cfg(self, name: str) -> SimpleNamespace | None:
        architecture, _, tag = name.partition(".")
        if architecture != "tiny":
            return None
        if tag not in ("", "tag"):
            raise RuntimeError(f"Invalid pretrained tag ({tag}) for tiny.")
        return SimpleNamespace(
            input_size=(3, 8, 8), mean=MEAN, std=STD, fixed_input_size=self.fixed, classifier="fc"
        )

    def create_model(self, name: str, **options: Any) -> nn.Module:
        self.asked.append({"name": name, **options})
        if options.get("img_size", (8, 8))[0] % 2:
            raise AssertionError("img_size must be even\nby two")
        return Tiny(options["in_chans"], options["num_classes"])


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    yield stand_in
    # Whatever is done, nothing is fetched.
    assert all(asked["pretrained"] is False for asked in stand_in.asked)


def test_it_is_built_for_the_data_and_never_downloads(timm: StandIn) -> None:
    network = build(NetworkSpec("timm:tiny.tag", (1, 8, 8), 4), seed=1)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 4)
    assert timm.asked == [
        {"name": "tiny.tag", "pretrained": False, "num_classes": 4, "in_chans": 1}
    ]
    again = build(NetworkSpec("timm:tiny.tag", (1, 8, 8), 4), seed=1)
    assert torch.equal(network.fc.weight, again.fc.weight)


def test_one_of_a_fixed_size_is_built_for_the_images(timm: StandIn) -> None:
    timm.fixed = True
    build(NetworkSpec("timm:tiny", (3, 10, 12), 4))
    assert timm.asked[0]["img_size"] == (10, 12)
    with pytest.raises(ArchitectureError, match=r"timm:tiny cannot be built .* must be even$"):
        build(NetworkSpec("timm:tiny", (3, 9, 9), 4))


def test_its_configuration(timm: StandIn) -> None:
    config = zoo_config("timm:tiny")
    assert (config.shape, config.fixed) == ((3, 8, 8), False)
    assert (config.normalisation.mean, config.normalisation.std) == (MEAN, STD)
    assert config.classifiers == ("fc",)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:tinny", "timm has none of that name; did you mean timm:tiny?"),
        ("timm:tiny.other", "Invalid pretrained tag"),
        ("timm:", "timm has none of that name"),
        ("timm:hf-hub:someone/tiny", "timm has none of that name"),
        ("timm:local-dir:/tmp/tiny", "timm has none of that name"),
        ("timm:../tiny", "timm has none of that name"),
    ],
)
def test_names_that_are_none(timm: StandIn, name: str, words: str) -> None:
    for use in (lambda: zoo_config(name), lambda: build(NetworkSpec(name, (3, 8, 8), 2))):
        with pytest.raises(UsageError, match="unknown network") as caught:
            use()
        assert words in str(caught.value)
    assert timm.asked == []


def test_without_timm_the_mend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'nescio\[timm\]'"):
        nescio.fit("timm:tiny", stripes(60, 0))


def test_a_timm_that_does_not_fit_this_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator nms does not exist\\nmore')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(UsageError, match=r"\(operator nms does not exist\); it needs the torchv"):
        zoo_config("timm:tiny")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A backbone for a thousand classes."""
    torch.manual_seed(5)
    path = tmp_path / "tiny.safetensors"
    save_file(Tiny(3, 1000).state_dict(), path)
    return path


RECIPE = replace(QUICK, epochs=20, random="head", freeze=True)


def test_a_frozen_backbone_from_weights_to_answers(
    timm: StandIn, weights: Path, tmp_path: Path
) -> None:
    train = stripes(180, 0)  # grey, 6x6
    fitted = nescio.fit(
        "timm:tiny", train, weights=weights, recipe=RECIPE, max_refusal=0.2, samples=10
    )
    assert fitted.preprocessing.shape == fitted.spec.shape == (3, 8, 8)
    stored = fitted.network.state_dict()
    assert torch.equal(stored["network.conv1.weight"], trained(weights)["conv1.weight"])
    assert stored["normalise.std"].flatten().tolist() == pytest.approx(STD)
    found = fitted.decide(stripes(60, 1), rule="none", samples=10)
    assert float((found.forced == stripes(60, 1).require_labels()).float().mean()) > 0.9

    path = tmp_path / "m.nescio"
    fitted.save(path)
    weights_sum = fitted.record.weights_fingerprint
    weights.unlink()  # the file is whole without it
    with pytest.raises(ModelFileError, match="allow it with --network timm:tiny"):
        nescio.load_model(path)
    loaded = nescio.load_model(path, "timm:tiny")
    assert loaded.spec == fitted.spec
    images = stripes(9, 2)
    assert torch.equal(
        loaded.predict_samples(images, samples=3), fitted.predict_samples(images, samples=3)
    )
    told = describe_model(path)
    assert told["network"].startswith("timm:tiny, 75 random parameters")
    assert told["normalised by"] == "0.4,0.5,0.6/0.2,0.25,0.5"
    assert (told["weights"], told["weights fingerprint"]) == ("tiny.safetensors", weights_sum)
    assert told["trunk"] == "frozen"


def trained(weights: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(weights)


def test_the_command(
    timm: StandIn, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests_support import write_folder

    folder = write_folder(tmp_path / "data", stripes(90, 2))
    out = tmp_path / "m.nescio"
    command = ["train", folder, "--out", out, "--network", "timm:tiny", "--epochs", "2"]
    command += ["--samples", "4", "--max-refusal", "0.5"]
    frozen = ["--freeze", "--weights", weights, "--image-size", "10"]
    assert main([str(a) for a in (*command, *frozen, "--views", "2")]) == 0
    said = capsys.readouterr().err
    assert "tiny.safetensors has no fc.weight, fc.bias for 3 classes: left as initialised" in said
    assert main(["info", str(out)]) == 0
    told = capsys.readouterr().out
    assert "frozen, features of 2 views of each image" in told
    assert "10x10 colour" in told
    use = ["predict", str(out), str(folder / "left"), "--network", "timm:tiny", "--samples", "2"]
    assert main([*use, "--json", "--quiet"]) == 0

    for options, words in (
        (["--freeze"], "timm:tiny begins at random; give its trained weights with --weights FILE"),
        (["--weights", tmp_path / "none.pth"], "none.pth: no such file"),
        (["--normalise", "0.5,0.5/1,1"], "for 2 channels, and the images have 3"),
        ([*frozen, "--random", "all"], "no weights come before them"),
    ):
        capsys.readouterr()
        assert main([str(a) for a in (*command, "--force", *options, "--quiet")]) == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert words in error


def test_the_real_timm(tmp_path: Path) -> None:
    """Where it is installed, its networks are built, normalised, cut and frozen."""
    real = pytest.importorskip("timm", reason="timm is not installed", exc_type=Exception)
    torch.manual_seed(0)
    save_file(
        real.create_model("resnet10t", num_classes=7).state_dict(), tmp_path / "w.safetensors"
    )
    fitted = nescio.fit(
        "timm:resnet10t",
        stripes(60, 0),
        weights=tmp_path / "w.safetensors",
        image_size=32,
        recipe=replace(RECIPE, epochs=1, calibration=0.4),
        max_refusal=0.5,
        samples=2,
    )
    assert set(fitted.guide.loc) == {"network.fc.weight", "network.fc.bias"}
    assert fitted.spec.normalise == zoo_config("timm:resnet10t").normalisation
    fitted.save(tmp_path / "m.nescio")
    assert nescio.load_model(tmp_path / "m.nescio", "timm:resnet10t").spec == fitted.spec
