"""A whole file: written, told of, run without PyTorch, and never written where it is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from tests_support import CLASSES, QUICK, SIDE, stripes
from torch import Tensor, nn

import nescio
from nescio.cli import main
from nescio.data import Dataset, Preprocessing
from nescio.decode import Decoding
from nescio.errors import ArchitectureError, ExportError, UsageError
from nescio.export import Exported, export_onnx
from nescio.export import check as check_module
from nescio.export.check import as_input, codes, codes_of, compare, made_images
from nescio.export.model import build_model, choose_draw, serialise, start
from nescio.inference import MeanField
from nescio.prediction import sampling
from nescio.refusal import CalibratedRule, Decisions

CROSS = np.pad(np.full((1, SIDE, 2), 200, np.uint8), ((0, 0), (0, 0), (2, SIDE - 4)))


@pytest.fixture(scope="module")
def exported(classifier: nescio.Classifier, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """All weights are random: each network is run by itself."""
    path = tmp_path_factory.mktemp("onnx") / "stripes.onnx"
    return export_onnx(classifier, path, check=[stripes(300, 5)])


@pytest.fixture(scope="module")
def session(exported: Exported) -> object:
    return start(exported.path.read_bytes())


def run(session: object, images: Tensor) -> dict[str, Tensor]:
    names = [output.name for output in session.get_outputs()]  # type: ignore[attr-defined]
    values = session.run(None, {"images": as_input(images)})  # type: ignore[attr-defined]
    return {n: torch.from_numpy(np.array(v)) for n, v in zip(names, values, strict=True)}


def test_it_decides_as_the_classifier_does(
    classifier: nescio.Classifier, exported: Exported, session: object
) -> None:
    rule = classifier.calibrated
    assert rule is not None
    assert exported.draw.samples == rule.calibrated_on.samples == 20
    assert exported.agreement.explained
    assert exported.agreement.accepted > 200
    assert exported.size == exported.path.stat().st_size
    images = torch.cat([stripes(120, 7).images, torch.from_numpy(np.repeat(CROSS[None], 5, 0))])
    float32 = replace(classifier, precision="float32")
    arrays = as_input(images)[..., 0]
    own = float32.decide(arrays, samples=20)
    theirs = run(session, images)
    found = codes(theirs["accepted"], theirs["label"], theirs["reason"])
    assert torch.equal(found, codes_of(own))
    assert torch.equal(theirs["proposed"], own.verdicts.proposed)
    assert torch.equal(theirs["forced"], own.forced)
    assert torch.allclose(theirs["probability"], own.probability, atol=1e-5)
    assert torch.allclose(theirs["median"], own.median, atol=1e-5)
    assert torch.equal(theirs["nearest"], own.verdicts.nearest)
    assert torch.equal(theirs["stage"], own.verdicts.stage)
    assert torch.allclose(theirs["doubt"], own.verdicts.ambiguity, atol=1e-5)
    for name, score in own.scores.items():
        # Rounding may choose another of two neighbours that are equally far.
        # What the calibrated rule compares is called doubt there, as with every rule.
        apart = (theirs["doubt" if name == "error_probability" else name] - score).abs()
        assert float(apart.median()) < 1e-4, name
        assert float(apart.max()) < 0.02, name
    assert 0 < int(theirs["accepted"].sum()) < len(images)


def test_the_number_of_images_is_free(session: object) -> None:
    images = stripes(9, 3).images
    together = run(session, images)
    alone = [run(session, images[i : i + 1]) for i in range(len(images))]
    for name, value in together.items():
        one_by_one = torch.cat([each[name] for each in alone])
        assert torch.allclose(value.float(), one_by_one.float(), atol=1e-4), name


def test_the_file_tells_what_it_is(classifier: nescio.Classifier, session: object) -> None:
    told = session.get_modelmeta().custom_metadata_map  # type: ignore[attr-defined]
    rule = classifier.calibrated
    assert rule is not None
    assert tuple(json.loads(told["classes"])) == CLASSES
    assert json.loads(told["reasons"]) == ["", "ambiguous", "unfamiliar"]
    assert json.loads(told["stages"])[0] == "image"
    told_of = Decoding.from_json(json.loads(told["decoding"]))
    assert told_of == classifier.preprocessing.decoding
    assert told["rule"] == rule.describe()
    assert json.loads(told["rule_json"]) == rule.to_json()
    assert "exchangeable" in told["promise"]
    assert told["nescio"] == nescio.__version__
    assert told["posterior_fingerprint"] == rule.calibrated_on.posterior
    assert (told["samples"], told["seed"]) == ("20", "0")


ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "nescio", "onnx", "onnxscript"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
images = np.load(sys.argv[2])
accepted, label, reason = session.run(["accepted", "label", "reason"], {"images": images})
assert "torch" not in sys.modules
print(np.where(accepted, label, -reason).tolist())
"""


def test_it_runs_without_pytorch(
    classifier: nescio.Classifier, exported: Exported, tmp_path: Path
) -> None:
    images = stripes(30, 11).images
    np.save(tmp_path / "images.npy", as_input(images))
    command = [sys.executable, "-c", ALONE, str(exported.path), str(tmp_path / "images.npy")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    own = replace(classifier, precision="float32").decide(as_input(images)[..., 0], samples=20)
    assert json.loads(said) == codes_of(own).tolist()


def test_the_script_of_the_docs_says_the_verdict_in_words(
    exported: Exported, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/deploy.md").read_text(encoding="utf-8")
    script = re.search(r"<!-- file: answer.py -->\n```python\n(.*?)```", page, re.S)
    assert script is not None
    (tmp_path / "answer.py").write_text(script[1])
    Image.fromarray(stripes(1, 4).images[0, 0].numpy()).save(tmp_path / "left.png")
    Image.fromarray(np.full((20, 9), 255, np.uint8)).save(tmp_path / "white.png")
    command = [sys.executable, "answer.py", str(exported.path), "left.png", "white.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    familiar, strange = done.stdout.splitlines()
    assert familiar == "left.png: left"
    assert re.fullmatch(
        r"white.png: I don't know \(unfamiliar: nearest to \w+, given away by stage \w+\)", strange
    )


def test_outputs_that_come_in_chunks_are_compared(
    classifier: nescio.Classifier, session: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = classifier.calibrated
    assert rule is not None
    # As of 1,000 classes: a chunk holds seven images of this batch.
    monkeypatch.setattr(sampling, "CHUNK_ELEMENTS", 7 * 20 * len(CLASSES))
    draw = choose_draw(classifier, rule)
    agreement = compare(session, classifier, rule, draw, [stripes(30, 2)])
    assert (agreement.images, agreement.explained) == (30, True)


def test_what_decides_otherwise_is_not_written(
    classifier: nescio.Classifier,
    session: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rule = classifier.calibrated
    assert rule is not None
    draw = choose_draw(classifier, rule)
    # Other thresholds than those in the file.
    other = replace(rule, unfamiliar=(0.3,), frontier=None)
    agreement = compare(session, classifier, other, draw, [stripes(100, 2)])
    assert len(agreement.differences) > 5
    with pytest.raises(ExportError, match="of 100 images are decided otherwise, such as stripes"):
        agreement.require()
    # Other networks than those in the file: most are decided alike, but by other scores.
    wide = {name: raw + 2 for name, raw in classifier.guide.raw_scale.items()}
    unsure = replace(classifier, guide=MeanField(classifier.guide.loc, wide))
    agreement = compare(session, unsure, rule, draw, [stripes(100, 2)])
    assert agreement.apart > 0.1
    with pytest.raises(ExportError):
        agreement.require()
    monkeypatch.setattr(check_module, "compare", lambda *_, **__: agreement)
    monkeypatch.setattr("nescio.export.model.build_model", lambda *_: None)
    monkeypatch.setattr("nescio.export.model.serialise", lambda _: b"")
    monkeypatch.setattr("nescio.export.model.start", lambda _: None)
    with pytest.raises(ExportError, match="nothing was written"):
        export_onnx(classifier, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


class Saying:
    """A session that says what it is given: of all images, in their order."""

    def __init__(self, decisions: Decisions) -> None:
        verdicts = decisions.verdicts
        self.said = {
            "accepted": decisions.accepted,
            "label": verdicts.top,
            "reason": torch.where(verdicts.unfamiliar, 2, 1),
            "probability": decisions.probability,
            "unfamiliarity": verdicts.unfamiliarity,
        }

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name) for name in self.said]

    def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [value[: len(inputs["images"])].numpy() for value in self.said.values()]


@pytest.mark.parametrize(("apart", "explained"), [(2e-5, True), (0.1, False)])
def test_a_difference_at_a_threshold_is_explained_by_rounding(
    classifier: nescio.Classifier, apart: float, explained: bool
) -> None:
    rule = classifier.calibrated
    assert rule is not None
    images, float32 = stripes(61, 2), replace(classifier, precision="float32")

    def at(threshold: float) -> CalibratedRule:
        return replace(rule, unfamiliar=(threshold,), frontier=None, doubtful=(1.0,))

    # On one side of the threshold here, on the other there: one image, if both are near.
    unfamiliarity = float32.decide(images, samples=20).verdicts.unfamiliarity
    threshold = float(unfamiliarity.median())
    said = Saying(float32.decide(images, rule=at(threshold * (1 + apart / 2)), samples=20))
    moved = at(threshold * (1 - apart / 2))
    agreement = compare(said, classifier, moved, choose_draw(classifier, rule), [images])
    names = {d.image: d.rounding for d in agreement.differences}
    place = int((unfamiliarity - threshold).abs().argmin())
    assert images.image_name(place) in names
    far = [name for name, rounding in names.items() if rounding is None]
    assert agreement.explained is explained is (not far)
    if explained:
        assert names[images.image_name(place)] <= 1e-4


def test_made_images_have_the_models_colour_and_many_sizes() -> None:
    sets = made_images(Preprocessing(3, 8, 12))
    assert {images.images.shape[1] for images in sets} == {3}
    assert len({images.images.shape[2:] for images in sets}) == 4


def test_bad_input_is_told_before_work_is_done(
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = tmp_path / "there.onnx"
    there.write_text("work")
    cases = [
        ([], "nescio export MODEL --onnx"),
        (["--onnx", "--out", str(there)], "overwrite it with --force"),
        (["--onnx", "--out", str(tmp_path)], "is a folder"),
        (["--onnx", "--out", str(tmp_path / "x.onnx"), "--samples", "0"], "at least 1"),
        (["--onnx", "--out", str(tmp_path / "x.onnx"), "--rule", "maybe"], "unknown rule"),
        (["--onnx", "--out", str(tmp_path / "x.onnx"), "--check", "nowhere"], "no such file"),
        (["--onnx", "--out", str(tmp_path / "x.onnx"), "--samples", "3000000"], "lower --samples"),
    ]
    for options, words in cases:
        assert main(["export", str(model_file), *options, "--quiet"]) == 2
        said = capsys.readouterr().err
        assert words in said, said
        assert len(said.strip().splitlines()) == 1
    monkeypatch.setattr("nescio.export.export.NEEDED", ("onnx", "no_such_package"))
    assert main(["export", str(model_file), "--onnx"]) == 2
    assert "no_such_package; install it with pip install 'nescio[onnx]'" in capsys.readouterr().err
    assert there.read_text() == "work"
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]


class Bessel(nn.Module):
    """What ONNX has no operator for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


@pytest.mark.slow
def test_an_operator_without_a_translation_is_named(data: Dataset) -> None:
    network = nn.Sequential(nn.Flatten(), Bessel(), nn.Linear(SIDE * SIDE, len(CLASSES)))
    quick = replace(QUICK, epochs=1)
    classifier = nescio.fit(network, data, recipe=quick, max_refusal=0.05, samples=3)
    rule = classifier.rule
    with pytest.raises(ArchitectureError, match=r"no operator for .*bessel_j0"):
        build_model(classifier, rule, choose_draw(classifier, rule))


def test_too_many_networks_for_one_file_are_told(classifier: nescio.Classifier) -> None:
    rule = classifier.choose_rule("none")
    with pytest.raises(UsageError, match="one ONNX file holds 2 GiB; lower --samples to"):
        build_model(classifier, rule, choose_draw(classifier, rule, samples=10**6))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["none", "median:0.2", "0.1:0.5"])
def test_other_rules_are_exported_too(
    classifier: nescio.Classifier, tmp_path: Path, rule: str
) -> None:
    done = export_onnx(classifier, tmp_path / "x.onnx", rule=rule, samples=7, seed=3)
    assert done.agreement.explained
    session = start(done.path.read_bytes())
    names = {output.name for output in session.get_outputs()}
    assert "unfamiliarity" not in names
    theirs = run(session, stripes(40, 1).images)
    own = replace(classifier, precision="float32").decide(
        stripes(40, 1), rule=rule, samples=7, seed=3
    )
    assert torch.equal(codes(theirs["accepted"], theirs["label"], theirs["reason"]), codes_of(own))


def colours(count: int, seed: int) -> nescio.ImageSet:
    """Images that one channel tells apart."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(90, (count, 3, 12, 10), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 3
    images[torch.arange(count), labels] += 120
    return nescio.ImageSet("colours", images, labels, ("red", "green", "blue"))


def test_no_sum_hangs_on_which_thread_comes_first(exported: Exported) -> None:
    model = onnx.load(exported.path)
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"ScatterND", "ScatterElements"}
    images = {"images": as_input(stripes(300, 9).images)}
    session = start(exported.path.read_bytes(), threads=2)
    first = session.run(None, images)
    for _ in range(3):
        again = session.run(None, images)
        assert all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            for a, b in zip(first, again, strict=True)
        )


@pytest.mark.slow
def test_a_convolutional_network_for_colour_with_a_random_head(tmp_path: Path) -> None:
    data = Dataset("colours", colours(400, 0), colours(100, 1))
    recipe = replace(QUICK, epochs=3, random="head", network="cnn")
    classifier = nescio.fit("cnn", data, recipe=recipe, max_refusal=0.1, samples=10)
    done = export_onnx(classifier, tmp_path / "c.onnx", check=[colours(500, 9)])
    assert done.agreement.explained
    assert done.agreement.accepted > 100
    session = start(done.path.read_bytes())
    shape = session.get_inputs()[0].shape
    assert shape[-1] == 3


@pytest.mark.slow
def test_a_model_of_digits_decides_alike_on_more_than_a_thousand_images(tmp_path: Path) -> None:
    """Images like those of training, shifts of them, and others; in sizes of their own."""
    data = nescio.load("digits")
    classifier = nescio.fit("cnn", data, recipe=replace(nescio.DEFAULT, epochs=2, minimum_steps=60))
    sets = [
        nescio.load(name, labelled=False).train.subset(torch.arange(count))
        for name, count in (
            ("digits", 700),
            ("digits@inverted", 200),
            ("letters", 150),
            ("noise", 50),
        )
    ]
    done = export_onnx(classifier, tmp_path / "digits.onnx", check=sets)
    agreement = done.agreement
    assert agreement.images > 1000
    assert agreement.accepted > 300
    assert agreement.explained
    assert agreement.equal >= 0.999 * agreement.images
    assert serialise(build_model(classifier, classifier.rule, done.draw)) == done.path.read_bytes()
