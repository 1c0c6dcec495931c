"""Studies of a classifier: what is kept, and that it is what the classifier says."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests_support import CLASSES, stripes

import nescio
from nescio.classifier import (
    choose_corruptions,
    familiar_set,
    judge,
    make_study,
    shifted_sets,
)
from nescio.classifier.judging import decide_each, known_labels
from nescio.classifier.specimens import LOWEST, histograms
from nescio.data import CORRUPTIONS, Dataset
from nescio.errors import DataError, UsageError
from nescio.evaluation import GALLERIES, UNFAMILIAR, Study, results_json
from nescio.refusal import parse_rule

RULES = (None, "median:0.9", "none")


@pytest.fixture(scope="module")
def study(classifier: nescio.Classifier, data: Dataset) -> Study:
    return make_study(
        classifier,
        familiar_set(classifier, data),
        shifted_sets(classifier, ["noise:30", data.train.subset(torch.arange(40))]),
        rules=RULES,
        samples=12,
        resamples=50,
        corruptions=("blur", "noise"),
        corrupted_images=25,
        name="mine",
        command="nescio evaluate",
    )


def test_several_rules_from_one_sampling(
    study: Study, classifier: nescio.Classifier, data: Dataset
) -> None:
    test = data.test
    assert test is not None
    for place, name in enumerate(RULES):
        alone = classifier.decide(test, rule=name, samples=12)
        answers = study.test.answers[place]
        assert answers.top.tolist() == alone.verdicts.top.tolist()
        assert (answers.fate == UNFAMILIAR).tolist() == alone.verdicts.unfamiliar.tolist()
        assert answers.accepted.tolist() == alone.accepted.tolist()
        assert answers.unfamiliarity.tolist() == alone.verdicts.unfamiliarity.tolist()
    assert [rule.name for rule in study.rules] == ["calibrated", "median:0.9", "none"]
    assert study.test.probability is not None
    assert torch.from_numpy(study.test.probability).equal(alone.probability)


def test_scores_go_with_the_rule(classifier: nescio.Classifier) -> None:
    few = stripes(5, 3)
    rules = [classifier.rule, parse_rule("none")]
    judged, plain = decide_each(classifier, few, rules, samples=3, seed=0)
    assert "familiarity" in judged.scores
    assert judged.stages
    assert "unfamiliarity" not in plain.scores
    assert plain.stages == ()


def test_what_is_known_of_the_model(study: Study, classifier: nescio.Classifier) -> None:
    card = study.model
    assert (card.name, card.network, card.seed) == ("mine", "mlp", 0)
    assert card.images == (1, 6, 6)
    assert len(card.history) == len(classifier.record.history)
    assert card.history[0].elbo == classifier.record.history[0].elbo
    assert card.random_parameters == card.parameters
    assert card.fingerprint == classifier.record.fingerprint
    assert card.reference is not None
    assert len(card.reference) == card.calibration_images
    assert classifier.calibrated is not None
    assert card.posterior == classifier.calibrated.calibrated_on.posterior


def test_sets_with_known_labels_are_told_by_accuracy(study: Study) -> None:
    assert list(study.shifted) == ["noise", "stripes"]
    assert study.shifted["noise"].labels is None
    assert study.shifted["stripes"].labels is not None
    figures = study.rules[2].shifted
    assert figures["noise"].accepted_accuracy is None
    accuracy = figures["stripes"].accepted_accuracy
    assert accuracy is not None
    assert accuracy.value > 0.9
    assert all(judged.probability is None for judged in study.shifted.values())


def test_classes_are_matched_by_name(classifier: nescio.Classifier) -> None:
    images = stripes(6, 0)
    turned = replace(images, classes=CLASSES[::-1])
    labels = known_labels(classifier, turned)
    assert labels is not None
    assert [CLASSES[i] for i in labels] == [turned.classes[int(i)] for i in turned.require_labels()]
    assert known_labels(classifier, replace(images, classes=("x", *CLASSES[1:]))) is None


def test_corruption_curves(study: Study) -> None:
    assert list(study.curves) == ["blur", "noise"]
    for curve in study.curves.values():
        assert curve.images == 25
        assert curve.description == CORRUPTIONS[curve.name].description
        assert [grade.severity for grade in curve.grades] == [0, 1, 2, 3, 4, 5]
        for grade in curve.grades:
            refused = grade.reasons["ambiguous"] + grade.reasons["unfamiliar"]
            assert grade.answered.value == pytest.approx(1 - refused / 25)
    blur, noise = study.curves.values()
    assert blur.grades[0] == noise.grades[0]
    assert blur.grades[1:] != noise.grades[1:]


def test_no_more_corrupted_images_than_there_are(classifier: nescio.Classifier) -> None:
    study = make_study(classifier, stripes(9, 5), {}, samples=2, resamples=5, corruptions=("blur",))
    assert study.curves["blur"].images == 9
    grade = study.curves["blur"].grades[0]
    assert grade.answered.value == study.rules[0].figures.coverage.value
    with pytest.raises(UsageError, match="--corruption-images must be at least 1, got 0"):
        make_study(
            classifier, stripes(9, 5), {}, samples=2, corruptions=("blur",), corrupted_images=0
        )


def test_choosing_corruptions() -> None:
    assert choose_corruptions(None) == ()
    assert choose_corruptions("all") == tuple(CORRUPTIONS)
    assert choose_corruptions("jpeg,blur") == ("jpeg", "blur")
    with pytest.raises(UsageError, match="no corruption is called 'inverted'"):
        choose_corruptions("blur,inverted")


def test_specimens_show_what_was_decided(
    study: Study, classifier: nescio.Classifier, data: Dataset
) -> None:
    assert data.test is not None
    assert {each.gallery for each in study.specimens} <= set(GALLERIES)
    shown = [each for each in study.specimens if each.set == "stripes" and each.gallery == "right"]
    assert len(shown) == 10
    logs = classifier.predict_samples(data.test, samples=12).log()
    for each in shown:
        assert each.label == each.actual
        assert each.reason is None
        pixels = np.asarray(Image.open(io.BytesIO(each.png)))
        assert (pixels == data.test.images[each.index, 0].numpy()).all()
        assert each.name == data.test.image_name(each.index)
        own = logs[:, each.index, 0].clamp_min(LOWEST).numpy()
        counts, _ = np.histogram(own.clip(each.edges[0], 0.0), np.array(each.edges))
        assert counts.tolist() == list(each.counts[0])
        assert all(sum(row) == 12 for row in each.counts)
    strange = [each for each in study.specimens if each.set == "noise"]
    assert all(each.actual is None for each in strange)
    assert all((each.label is None) == (each.gallery == "refused") for each in strange)


def test_histograms_by_hand() -> None:
    edges, counts = histograms(np.array([[-0.1, -99.0], [1e-7, -3.0]]))
    assert edges[0] == LOWEST
    assert edges[-1] == 0.0
    assert counts.tolist() == [[0, 0, 0, 0, 0, 0, 0, 2], [1, 0, 0, 0, 0, 0, 0, 1]]
    edges, counts = histograms(np.array([[-0.2], [-0.9]]))
    assert edges[0] == -1.0
    assert counts.sum() == 2


def test_seconds_and_json(study: Study) -> None:
    assert study.seconds.keys() == {
        "stripes",
        "noise",
        "intervals",
        "galleries",
        "corruptions",
    }
    assert results_json(study)["data"] == "stripes"


def test_bad_input(classifier: nescio.Classifier) -> None:
    images = stripes(6, 1)
    none = images.subset(torch.arange(0))
    with pytest.raises(DataError, match="stripes: no image to evaluate on"):
        judge(classifier, none, {})
    with pytest.raises(DataError, match="no image to evaluate on"):
        judge(classifier, images, {"x": none})
    with pytest.raises(DataError, match="labels are needed"):
        judge(classifier, replace(images, labels=None, classes=()), {})
    with pytest.raises(UsageError, match="each rule can be judged once, got none, none"):
        judge(classifier, images, {}, rule="none", also=["none"])
