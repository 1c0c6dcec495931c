import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tests_support import QUICK, QUICK_ARTICLE, SEED, calibrated_rule, small_network, stripes
from torch import nn

import nescio
from nescio.classifier import calibration_set, familiar_set, read_header, shifted_sets
from nescio.data import Dataset, ImageSet, as_asked, parse_shift, shift_images
from nescio.data.shifts import shift_dataset
from nescio.errors import ArchitectureError, DataError, ModelFileError, RuleError, UsageError


def test_it_learns_and_refuses(data: Dataset) -> None:
    classifier = nescio.fit("mlp", data, recipe=QUICK, max_refusal=0.05, samples=20, seed=SEED)
    result = classifier.evaluate(data, ood=["noise:200"], samples=20)
    assert result.data == "stripes"
    assert result.n == 150
    assert result.forced_accuracy.value > 0.95
    assert result.accepted_accuracy is not None
    assert result.accepted_accuracy.low <= result.accepted_accuracy.value
    assert result.refused == result.reasons["ambiguous"] + result.reasons["unfamiliar"]
    assert result.coverage.value == pytest.approx(1 - result.refused / 150)
    assert 0 <= result.ood["noise"].auroc <= 1
    assert set(result.seconds) == {"stripes", "noise", "intervals"}


def test_evaluation_json_has_the_contracts_keys(
    classifier: nescio.Classifier, data: Dataset
) -> None:
    record = classifier.evaluate(data, ood=["noise:50", "noise:20"], samples=5).to_json()
    assert set(record) >= {
        "data", "n", "forced_accuracy", "coverage", "refused", "accepted_accuracy", "aurc",
        "nll", "ece", "rule", "reasons", "ood", "seconds",
    }  # fmt: skip
    assert set(record["forced_accuracy"]) == {"value", "low", "high"}
    assert list(record["ood"]) == ["noise", "noise-2"]
    assert set(record["ood"]["noise"]) >= {"n", "refused", "refusal_rate", "auroc", "fpr95"}
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_nothing_accepted_is_said_not_nan(classifier: nescio.Classifier, data: Dataset) -> None:
    result = classifier.evaluate(data, rule=calibrated_rule(-1.0), samples=5)
    assert result.refused == 150
    assert result.accepted_accuracy is None
    assert result.to_json()["accepted_accuracy"] is None


def test_calibration_is_within_its_promise(classifier: nescio.Classifier) -> None:
    fresh = stripes(600, 77)
    refused = classifier.decide(fresh, samples=20).verdicts.unfamiliar.double().mean()
    # 60 calibration images at 5 %: the chance is at most 5 % on average over
    # calibrations; this one calibration may be above it, though not by much.
    assert float(refused) < 0.15
    rule = classifier.calibrated
    assert rule is not None
    bound = rule.calibrated_on
    assert (rule.max_refusal, bound.images, bound.samples) == (0.05, 60, 20)
    assert classifier.rule == rule


def test_too_few_calibration_images_are_told(data: Dataset) -> None:
    notes: list[str] = []

    class Listener(nescio.progress.Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    few = Dataset("few", stripes(60, 3), data.test)
    recipe = replace(QUICK, epochs=1)
    fitted = nescio.fit("mlp", few, recipe=recipe, samples=2, reporter=Listener())
    assert fitted.calibrated is not None
    assert not fitted.calibrated.familiarity_gate
    assert "6 calibration images are too few" in notes[0]
    assert "(99 are needed)" in notes[0]
    assert fitted.rule.to_json()["unfamiliar"] == ["all"]


def test_the_articles_recipe(data: Dataset) -> None:
    fitted = nescio.fit(small_network(), data, recipe=QUICK_ARTICLE, samples=2)
    assert fitted.rule == nescio.QuantileRule(0.5, 0.2)
    assert fitted.calibrated is None
    assert fitted.record.train_images == 600
    assert fitted.record.calibration_images == 0
    with pytest.raises(RuleError, match="no calibrated rule"):
        fitted.choose_rule("calibrated")
    logits = torch.cat(list(fitted.stream_logits(data.train.images[:9, 0], samples=30)), 1)
    decisions = fitted.decide(data.train.images[:9, 0], samples=30)
    assert torch.equal(decisions.forced, logits[:10].mean(0).argmax(-1))


def test_a_users_own_network_is_not_changed(data: Dataset) -> None:
    network = small_network()
    before = [p.clone() for p in network.parameters()]
    nescio.fit(network, data, recipe=replace(QUICK, epochs=1), samples=2)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_what_makes_a_network_is_taken_wherever_a_name_is(tmp_path: Path, data: Dataset) -> None:
    """A function, with whichever arguments it takes, a partial, a class; and a module."""

    def sized(shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], classes))

    class Own(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.head = nn.Linear(36, classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.flatten(1))

    path, images = tmp_path / "m.nescio", data.train.images[:4, 0]
    for network in (sized, partial(sized, classes=3), Own, partial(nescio.mlp, hidden=4)):
        fitted = nescio.fit(network, data, recipe=replace(QUICK, epochs=1), samples=2)
        fitted.save(path)
        for given in (network, fitted.network):
            loaded = nescio.load_model(path, network=given)
            assert torch.equal(loaded.predict_samples(images), fitted.predict_samples(images))
    classifier = nescio.fit(sized, data, recipe=replace(QUICK, epochs=1), samples=2)
    classifier.save(path)
    with pytest.raises(ModelFileError, match="do not fit the network"):
        nescio.load_model(path, network=Own)
    with pytest.raises(ArchitectureError, match="must return a torch"):
        nescio.load_model(path, network=lambda: 3)
    for wrong in (3, ["cnn"]):
        with pytest.raises(UsageError, match="network must be a name"):
            nescio.load_model(path, network=wrong)
        with pytest.raises(UsageError, match="network must be a name"):
            nescio.fit(wrong, data)


def test_members_of_an_ensemble_of_what_makes_a_network_begin_apart(data: Dataset) -> None:
    recipe = replace(QUICK, epochs=1, posterior="ensemble:2")
    fitted = nescio.fit(partial(nescio.mlp, hidden=4), data, recipe=recipe, samples=2)
    outputs = fitted.predict_samples(data.train.images[:4, 0], samples=2)
    assert not torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize(
    ("reading", "shape", "how"),
    [
        ({"image_size": 4}, (1, 4, 4), "pad"),
        ({"image_size": (5, 4), "fit": "crop"}, (1, 5, 4), "crop"),
        ({"colour": "rgb"}, (3, 6, 6), "pad"),
        ({"preprocessing": nescio.Preprocessing(3, 3, 3)}, (3, 3, 3), "pad"),
        ({}, (1, 6, 6), "pad"),
    ],
)
def test_what_is_asked_of_images_holds_for_a_set_in_memory(
    data: Dataset, reading: dict[str, Any], shape: tuple[int, int, int], how: str
) -> None:
    assert data.test is not None
    other = replace(data.test, images=data.test.images.repeat(1, 1, 2, 2))
    mixed = Dataset("mixed", data.train, other)
    asked = as_asked(mixed, nescio.Reading(**reading))
    assert asked.test is not None
    for images in (asked.train, asked.test):
        assert images.preprocessing == nescio.Preprocessing(*shape, how)
    if shape == (1, 4, 4):
        for images in (data, data.train):
            fitted = nescio.fit(
                "mlp", images, recipe=replace(QUICK, epochs=1), image_size=4, samples=2
            )
            assert fitted.preprocessing.shape == shape


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"recipe": "best"}, UsageError),
        ({"max_refusal": 0.0}, RuleError),
        ({"device": "tpu"}, UsageError),
        ({"stages": ["image", "nowhere"]}, UsageError),
        ({"recipe": replace(QUICK, rule="median:2")}, RuleError),
        ({"recipe": replace(QUICK, calibration=0.0)}, DataError),
    ],
)
def test_options_that_cannot_be(
    data: Dataset, options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        nescio.fit(small_network(), data, **{"recipe": replace(QUICK, epochs=1), **options})


def test_unknown_networks(data: Dataset) -> None:
    with pytest.raises(UsageError, match="did you mean 'mlp'"):
        nescio.fit("mpl", data)
    with pytest.raises(UsageError, match="cannot import"):
        nescio.fit("no_such_module:make", data)


def test_arrays_of_many_kinds(classifier: nescio.Classifier) -> None:
    grey = np.full((2, 6, 6), 128, np.uint8)
    same = [
        classifier.predict_samples(images, samples=3)
        for images in (grey, torch.from_numpy(grey), np.stack([grey] * 3, -1))
    ]
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[0], same[2])
    assert classifier.predict_samples(np.zeros((9, 20)), samples=2).shape == (2, 1, 3)
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        classifier.predict_samples(np.full((1, 6, 6), 2.0))


def test_a_typing_error_in_unknown_classes(classifier: nescio.Classifier, data: Dataset) -> None:
    with pytest.raises(UsageError, match="must be error or unfamiliar, got 'typo'"):
        classifier.evaluate(data, unknown_classes="typo")  # type: ignore[arg-type]


# What may be judged on -----------------------------------------------------------------


@pytest.fixture(scope="module")
def without_test() -> tuple[nescio.Classifier, Dataset]:
    dataset = Dataset("stripes", stripes(200, 5))
    return nescio.fit("mlp", dataset, recipe=replace(QUICK, epochs=1), samples=2), dataset


def test_the_part_left_out_of_training(without_test: tuple[nescio.Classifier, Dataset]) -> None:
    fitted, dataset = without_test
    judged = familiar_set(fitted, dataset)
    assert len(judged) == 30
    assert not torch.isin(judged.hashes(), fitted.record.seen).any()


def test_images_trained_on_are_left_out(without_test: tuple[nescio.Classifier, Dataset]) -> None:
    fitted, dataset = without_test
    fresh = stripes(12, 99)
    images = torch.cat([dataset.train.images, fresh.images])
    labels = torch.cat([dataset.train.require_labels(), fresh.require_labels()])
    more = Dataset("more", ImageSet("more", images, labels, dataset.classes))
    assert len(familiar_set(fitted, more)) == 30 + 12
    seen = Dataset("seen", familiar_set(fitted, more).subset(torch.arange(42)))
    trained = torch.isin(dataset.train.hashes(), fitted.record.seen).nonzero().flatten()
    only_seen = Dataset("seen", dataset.train.subset(trained))
    assert len(familiar_set(fitted, seen)) == 42
    with pytest.raises(DataError, match="calibrated on every one of these 170 images"):
        familiar_set(fitted, only_seen)


def test_classes_are_matched_by_name(classifier: nescio.Classifier) -> None:
    test = stripes(30, 8)
    order = torch.tensor([2, 0, 1])
    renamed = ImageSet("r", test.images, order[test.require_labels()], ("right", "top", "left"))
    judged = familiar_set(classifier, renamed)
    assert judged.classes == classifier.classes
    assert torch.equal(judged.require_labels(), test.require_labels())
    other = ImageSet("r", test.images, test.labels, ("left", "right", "down"))
    with pytest.raises(DataError, match="class 'down' is not one of the model's 3 classes"):
        familiar_set(classifier, other)
    with pytest.raises(DataError, match="labels are needed"):
        familiar_set(classifier, ImageSet("r", test.images, None, ()))


def test_shifted_sets_are_adapted(classifier: nescio.Classifier) -> None:
    sets = shifted_sets(classifier, ["letters:5", "noise:3"])
    assert sets["letters"].images.shape == (5, 1, 6, 6)
    assert sets["noise"].images.shape == (3, 1, 6, 6)


@pytest.mark.parametrize("text", ["inverted", "blur:2", "turned"])
def test_of_a_shifted_set_the_same_images_count(
    without_test: tuple[nescio.Classifier, Dataset], text: str
) -> None:
    fitted, dataset = without_test
    shift = parse_shift(text)
    judged = familiar_set(fitted, shift_dataset(dataset, shift, seed=4))
    clean = familiar_set(fitted, dataset)
    assert torch.equal(judged.require_labels(), clean.require_labels())
    # The random numbers belong to the places in the whole set, so they are looked up there.
    places = (dataset.train.hashes()[:, None] == clean.hashes()).int().argmax(0)
    everything = shift_images(dataset.train.images, shift, seed=4)
    assert torch.equal(judged.images, everything[places])
    assert judged.name == f"stripes@{text}"


def test_of_a_shifted_set_what_was_trained_on_is_left_out(
    without_test: tuple[nescio.Classifier, Dataset], tmp_path: Path
) -> None:
    fitted, dataset = without_test
    images = torch.cat([dataset.train.images, stripes(12, 99).images])
    labels = torch.cat([dataset.train.require_labels(), stripes(12, 99).require_labels()])
    path = tmp_path / "more.npz"
    np.savez(path, images=images[:, 0].numpy(), labels=np.array(dataset.classes)[labels.numpy()])
    clean, inverted = familiar_set(fitted, path), familiar_set(fitted, f"{path}@inverted")
    assert (inverted.name, len(inverted)) == ("more@inverted", 30 + 12)
    assert torch.equal(inverted.images, 255 - clean.images)
    assert torch.equal(inverted.require_labels(), clean.require_labels())
    ood = shifted_sets(fitted, [f"{path}@inverted", f"{path}@pairs", f"{path}@inverted"])
    assert list(ood) == ["more@inverted", "more@pairs", "more@inverted-2"]
    assert fitted.evaluate(f"{path}@noise:1", ood=[f"{path}@pairs"], samples=2).n == 42


def test_nothing_is_learnt_from_shifted_sets(
    without_test: tuple[nescio.Classifier, Dataset],
) -> None:
    fitted, dataset = without_test
    shifted = shift_dataset(dataset, parse_shift("blur"))
    for use in (partial(nescio.fit, "mlp"), partial(calibration_set, fitted)):
        with pytest.raises(UsageError, match=r"stripes@blur is a shifted set.* give stripes$"):
            use(shifted)


# The model file ------------------------------------------------------------------------


def test_predictions_are_bit_equal_after_loading(
    classifier: nescio.Classifier, model_file: Path, data: Dataset
) -> None:
    loaded = nescio.load_model(model_file)
    images = data.train.images[:100, 0]
    assert torch.equal(loaded.predict_samples(images), classifier.predict_samples(images))
    for field in ("spec", "preprocessing", "classes", "recipe", "rule", "calibrated"):
        assert getattr(loaded, field) == getattr(classifier, field)
    assert loaded.record.history == classifier.record.history
    assert torch.equal(loaded.record.seen, classifier.record.seen)
    first, second = classifier.decide(images), loaded.decide(images)
    assert first.stages == second.stages == ("image", "detail", "2", "output")
    for name, score in first.scores.items():
        assert torch.equal(score, second.scores[name])


def test_all_parts_of_a_network_are_kept(tmp_path: Path, data: Dataset) -> None:
    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        )

    fitted = nescio.fit(network(), data, recipe=replace(QUICK, epochs=1), samples=2)
    fitted.save(tmp_path / "m.nescio")
    with pytest.raises(ModelFileError, match="its network was a Python object"):
        nescio.load_model(tmp_path / "m.nescio")
    loaded = nescio.load_model(tmp_path / "m.nescio", network())
    images = data.train.images[:10, 0]
    assert torch.equal(
        loaded.predict_samples(images, samples=3), fitted.predict_samples(images, samples=3)
    )
    with pytest.raises(ModelFileError, match="do not fit the network"):
        nescio.load_model(tmp_path / "m.nescio", small_network())


def test_a_file_alone_runs_no_code(
    tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "homemade.py").write_text(
        "from torch import nn\n"
        "def make(shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], classes))\n"
        "def wrong():\n"
        "    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    fitted = nescio.fit("homemade:make", data, recipe=replace(QUICK, epochs=1), samples=2)
    fitted.save("m.nescio")
    with pytest.raises(ModelFileError, match="allow it with --network homemade:make"):
        nescio.load_model("m.nescio")
    assert nescio.load_model("m.nescio", "homemade:make").classes == fitted.classes
    with pytest.raises(ArchitectureError, match="must return a torch"):
        nescio.fit("homemade:wrong", data)
    with pytest.raises(UsageError, match="has no function"):
        nescio.fit("homemade:nothing", data)


@pytest.mark.parametrize("place", [0.0, 0.001, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("kind", ["cut", "flip"])
def test_a_damaged_file(model_file: Path, tmp_path: Path, place: float, kind: str) -> None:
    content = bytearray(model_file.read_bytes())
    index = int(place * len(content))
    if kind == "cut":
        content = content[:index]
    else:
        content[index] ^= 0x40
    damaged = tmp_path / "damaged.nescio"
    damaged.write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged"):
        nescio.load_model(damaged)


@pytest.mark.parametrize("change", [{"scale": "sof4plus"}, {"prior": "nrmal::1"}])
def test_a_damaged_recipe(model_file: Path, tmp_path: Path, change: dict[str, str]) -> None:
    header = read_header(model_file)
    damaged = tmp_path / "damaged.nescio"
    text = json.dumps({**header, "recipe": {**header["recipe"], **change}})
    save_file(load_file(model_file), damaged, metadata={"nescio": text})
    with pytest.raises(ModelFileError, match="recipe is damaged"):
        nescio.load_model(damaged)


def test_one_changed_letter_of_the_description_is_seen(model_file: Path, tmp_path: Path) -> None:
    content = model_file.read_bytes()
    damaged = tmp_path / "damaged.nescio"
    damaged.write_bytes(content.replace(b"stripes", b"stripez", 1))
    with pytest.raises(ModelFileError, match="its description does not match its sum"):
        nescio.load_model(damaged)


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_threads_do_not_meet(classifier: nescio.Classifier, data: Dataset, count: int) -> None:
    seeds = range(count)
    assert data.test is not None
    images = data.test
    # Built beforehand: PyTorch draws initial weights from one generator for all threads.
    network = small_network()

    def predict(seed: int) -> torch.Tensor:
        return classifier.predict_samples(images, samples=20, seed=seed, batch_size=16)

    def train(seed: int) -> torch.Tensor:
        recipe = replace(QUICK, epochs=3)
        return nescio.fit(network, data, recipe=recipe, samples=2, seed=seed).guide.loc["3.weight"]

    for work in (predict, train):
        alone = [work(seed) for seed in seeds]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(work, seeds))
        assert all(map(torch.equal, alone, together))


def test_a_convolutional_network_of_colour_images_is_bit_equal_after_loading(
    data: Dataset, tmp_path: Path
) -> None:
    # Its weights lie channels last in memory, and kernels round by how weights lie.
    colour = replace(data.train, images=data.train.images.expand(-1, 3, -1, -1).contiguous())
    fitted = nescio.fit("cnn", colour, recipe=replace(QUICK, epochs=1), samples=2)
    fitted.save(tmp_path / "m.nescio")
    loaded = nescio.load_model(tmp_path / "m.nescio")
    first = fitted.predict_samples(colour, samples=3)
    assert torch.equal(first, loaded.predict_samples(colour, samples=3))
    for name, loc in fitted.guide.loc.items():
        assert torch.equal(loaded.guide.loc[name], loc)


def test_a_file_of_an_earlier_format(model_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"earlier nescio \(format 2\).*train it again"):
        nescio.load_model(rewrite(model_file, tmp_path / "old", format=2))


def test_a_file_from_before_accuracy_was_kept(model_file: Path, tmp_path: Path) -> None:
    assert all(epoch.accuracy is not None for epoch in nescio.load_model(model_file).record.history)
    training = read_header(model_file)["training"]
    for epoch in training["history"]:
        del epoch["accuracy"]
    old = nescio.load_model(rewrite(model_file, tmp_path / "old", training=training))
    assert {epoch.accuracy for epoch in old.record.history} == {None}


def test_parts_that_do_not_match(model_file: Path, tmp_path: Path, data: Dataset) -> None:
    other = nescio.fit("mlp", data, recipe=replace(QUICK, epochs=1), samples=2)
    assert other.calibrated is not None
    for name in ("rule", "calibrated"):
        swapped = rewrite(model_file, tmp_path / name, **{name: other.calibrated.to_json()})
        with pytest.raises(ModelFileError, match="thresholds were set on another posterior"):
            nescio.load_model(swapped)


def rewrite(model_file: Path, target: Path, **changes: object) -> Path:
    """The same tensors with another description."""
    header = {**read_header(model_file), **changes}
    save_file(load_file(model_file), target, metadata={"nescio": json.dumps(header)})
    return target


def test_foreign_newer_and_missing_files(model_file: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(ModelFileError, match="not one that nescio wrote"):
        nescio.load_model(foreign)
    with pytest.raises(ModelFileError, match=r"newer nescio \(format 999"):
        nescio.load_model(rewrite(model_file, tmp_path / "newer", format=999))
    with pytest.raises(ModelFileError, match="no such model file"):
        nescio.load_model(tmp_path / "none")
    with pytest.raises(ModelFileError, match="no such model file"):
        nescio.load_model(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"name": "mlp", "shape": [1, 100_000, 100_000], "classes": 3}},
        {"network": {"name": "mlp", "shape": [1, 6], "classes": 3}},
        {"network": {"name": "mlp", "shape": [1, 6, 6], "classes": 3, "normalise": 3}},
        {
            "network": {
                "name": "mlp",
                "shape": [1, 6, 6],
                "classes": 3,
                "normalise": {"mean": [0.5], "std": [0]},
            }
        },
        {
            "network": {
                "name": "mlp",
                "shape": [1, 6, 6],
                "classes": 3,
                "normalise": {"mean": [0.5], "std": [1]},
            }
        },
        {"network": None},
        {"classes": None},
        {"recipe": {"name": "x"}},
        {"rule": {"kind": "other"}},
        {"training": {}},
        {"format": "x"},
    ],
)
def test_hostile_descriptions(model_file: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises((ModelFileError, RuleError)):
        nescio.load_model(rewrite(model_file, tmp_path / "hostile", **changes))


def test_a_failed_write_leaves_the_old_file(
    classifier: nescio.Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m.nescio"
    classifier.save(target)
    before = target.read_bytes()

    def full_disk(_: object, path: Path, **__: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("nescio.classifier.modelfile.save_file", full_disk)
    with pytest.raises(ModelFileError, match=r"cannot be written .*No space left"):
        classifier.save(target)
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.nescio"]
