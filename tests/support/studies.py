"""Studies made of numbers, without a model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL import Image

from nescio.evaluation import Interval, exact_share
from nescio.evaluation.study import (
    AMBIGUOUS,
    UNFAMILIAR,
    Answers,
    Column,
    CorruptionCurve,
    ForcedFigures,
    Grade,
    JudgedSet,
    ModelCard,
    RiskCurve,
    SelectiveFigures,
    ShiftedFigures,
    Specimen,
    StudiedRule,
    Study,
    TrainingPass,
)

RECORD = {
    "kind": "calibrated",
    "unfamiliar": [4.0],
    "doubtful": [0.2],
    "doubt": "error_probability",
    "max_risk": None,
}
HISTORY = tuple(TrainingPass(i, -2.0 / i, -1.0 / i, 1.0 / i, 1.0, 1 - 0.5 / i) for i in (1, 2, 3))


def interval(value: float) -> Interval:
    return Interval(value, 0.9 * value, 1.1 * value)


def share(count: int, total: int) -> Interval:
    found = exact_share(count, total)
    assert found is not None
    return found


def answers(top: Column, fate: Column, rng: np.random.Generator) -> Answers:
    n = len(top)
    doubt = np.where(fate == AMBIGUOUS, 0.3, 0.1) * rng.random(n)
    strange = np.where(fate == UNFAMILIAR, 5.0, 1.0) + rng.random(n)
    return Answers(
        top.astype(np.int32),
        fate.astype(np.int8),
        doubt.astype(np.float32),
        strange.astype(np.float32),
        top.astype(np.int32),
        np.zeros(n, np.int8),
    )


def judged(
    name: str, labels: Column | None, top: Column, fate: Column, rng: np.random.Generator
) -> JudgedSet:
    n = len(top)
    confidence = np.linspace(0.3, 1.0, n, dtype=np.float32)
    return JudgedSet(
        name=name,
        fingerprint="f1" * 32,
        names=tuple(f"{name}[{i}]" for i in range(n)),
        labels=None if labels is None else labels.astype(np.int32),
        forced=top.astype(np.int32),
        predicted=top.astype(np.int32),
        confidence=confidence,
        label_probability=None if labels is None else confidence,
        brier=None if labels is None else 1 - confidence,
        probability=None,
        samples=np.full(n, 10, np.int32),
        answers=(answers(top, fate, rng),),
    )


def reasons(fate: Column) -> dict[str, int]:
    return {
        "ambiguous": int((fate == AMBIGUOUS).sum()),
        "unfamiliar": int((fate == UNFAMILIAR).sum()),
    }


def selective(labels: Column, top: Column, fate: Column) -> SelectiveFigures:
    n, accepted, right = len(top), fate == 0, top == labels
    risk = np.cumsum(~right) / np.arange(1, n + 1)
    return SelectiveFigures(
        coverage=share(int(accepted.sum()), n),
        refused=int((~accepted).sum()),
        reasons=reasons(fate),
        accepted_accuracy=exact_share(int((right & accepted).sum()), int(accepted.sum())),
        aurc=interval(0.01),
        augrc=interval(0.008),
        excess_aurc=interval(0.002),
        risk_at_coverage={0.9: interval(0.01)},
        coverage_at_risk={0.01: interval(0.5)},
        curve=RiskCurve(
            np.arange(1, n + 1) / n, risk, np.maximum(risk - 0.02, 0), np.minimum(risk + 0.02, 1)
        ),
    )


def strange_figures(fate: Column) -> ShiftedFigures:
    refused = int((fate != 0).sum())
    rate = share(refused, len(fate))
    return ShiftedFigures(
        len(fate), refused, rate, reasons(fate), interval(0.9), interval(0.8), interval(0.1), None
    )


def png(side: int = 6, channels: int = 1) -> bytes:
    shape = (side, side) if channels == 1 else (side, side, channels)
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, shape, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def specimen(gallery: str, own: JudgedSet, index: int, classes: Sequence[str]) -> Specimen:
    shown = tuple(classes[:10])
    answer = classes[int(own.answers[0].top[index])]
    fate = int(own.answers[0].fate[index])
    reason = (None, "ambiguous", "unfamiliar")[fate]
    labels = own.labels
    counts = np.zeros((len(shown), 8), int)
    counts[:, 3], counts[0, 7] = 10, 10
    return Specimen(
        gallery=gallery,
        set=own.name,
        index=index,
        name=own.names[index],
        png=png(),
        actual=None if labels is None else classes[int(labels[index])],
        label=answer if reason is None else None,
        reason=reason,
        text=answer if reason is None else f"I don't know ({reason})",
        forced=answer,
        proposed=(classes[0], classes[-1]) if reason == "ambiguous" else (answer,),
        classes=shown,
        probability=tuple(np.full(len(shown), 1 / len(classes)).tolist()),
        median=tuple(np.full(len(shown), 1 / len(classes)).tolist()),
        edges=tuple(np.linspace(-10, 0, 9).tolist()),
        counts=tuple(map(tuple, counts.tolist())),
        scores={"unfamiliarity": float(own.answers[0].unfamiliarity[index]), "familiarity": 0.3},
        nearest=answer,
        stage="image",
        samples=10,
    )


def specimens(own: JudgedSet, classes: Sequence[str]) -> list[Specimen]:
    fate, top, labels = own.answers[0].fate, own.answers[0].top, own.labels
    if labels is None:
        kinds: Mapping[str, Column] = {"refused": fate != 0, "accepted": fate == 0}
    else:
        kinds = {
            "right": (fate == 0) & (top == labels),
            "wrong": (fate == 0) & (top != labels),
            "ambiguous": fate == AMBIGUOUS,
            "unfamiliar": fate == UNFAMILIAR,
        }
    return [
        specimen(kind, own, index, classes)
        for kind, mask in kinds.items()
        for index in mask.nonzero()[0][:7].tolist()
    ]


def curve(name: str) -> CorruptionCurve:
    grades = [
        Grade(
            severity,
            share(100 - 20 * severity, 100),
            exact_share(100 - 20 * severity, 100 - 20 * severity),
            share(100 - 5 * severity, 100),
            {"ambiguous": 5, "unfamiliar": 20 * severity - 5 if severity else 0},
        )
        for severity in range(6)
    ]
    return CorruptionCurve(name, f"{name} & more", 100, tuple(grades))


def made_study(
    classes: Sequence[str] = ("left", "right", "top"),
    n: int = 300,
    shifted: Sequence[str] = ("noise", "letters"),
    *,
    name: str = "stripes",
    refused: float = 0.1,
    wrong: float = 0.05,
    never: int | None = None,
    seed: int = 0,
    curves: Sequence[str] = ("blur",),
) -> Study:
    """A study of ``n`` images.

    Args:
        classes: Their names.
        n: Test images; their classes take turns.
        shifted: Names of sets of 50 images, which are refused but for the first.
        name: Of the test set.
        refused: The share that is refused, half for each reason.
        wrong: The share that is answered, or would be, with the next class.
        never: A class that is never answered.
        seed: Of everything.
        curves: Names of corruptions.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes)
    top = np.where(rng.random(n) < wrong, (labels + 1) % len(classes), labels)
    draw = rng.random(n)
    fate = np.where(draw < refused / 2, AMBIGUOUS, np.where(draw < refused, UNFAMILIAR, 0))
    if never is not None:
        fate = np.where(top == never, AMBIGUOUS, fate)
    test = judged(name, labels, top, fate, rng)
    strange = np.r_[0, np.full(49, UNFAMILIAR)]
    others = {
        own: judged(own, None, rng.integers(0, len(classes), 50), strange, rng) for own in shifted
    }
    figures = {own: strange_figures(strange) for own in shifted}
    right = int((top == labels).sum())
    forced = ForcedFigures(share(right, n), *map(interval, (0.1, 0.05, 0.01, 0.02, 0.015)))
    rule = StudiedRule("calibrated", RECORD, "The rule.", selective(labels, top, fate), figures)
    kept = specimens(test, classes)
    for other in others.values():
        kept += specimens(other, classes)
    return Study(
        model=card(len(classes)),
        classes=tuple(classes),
        samples=10,
        seed=seed,
        resamples=1000,
        test=test,
        shifted=others,
        forced=forced,
        rules=(rule,),
        curves={own: curve(own) for own in curves},
        specimens=tuple(kept),
        command=f"nescio evaluate model.nescio {name}",
    )  # fmt: skip


def card(classes: int) -> ModelCard:
    return ModelCard(
        name="model",
        network="mlp",
        parameters=1000,
        random_parameters=100 * classes,
        images=(1, 6, 6),
        recipe={"name": "default", "prior": "normal:1"},
        kl_weight=1.0,
        seed=0,
        data="stripes",
        fingerprint="ab" * 32,
        posterior="cd" * 32,
        train_images=600,
        calibration_images=60,
        stopped=None,
        history=HISTORY,
        versions={"nescio": "0.1.0", "torch": "2.13.0"},
        stages=("image", "head"),
        reference=np.linspace(0, 3, 60, dtype=np.float32),
    )


def with_rule(study: Study, **changes: object) -> Study:
    """The same with another record of its first rule."""
    first = study.rules[0]
    record = {**first.record, **changes}
    return replace(study, rules=(replace(first, record=record), *study.rules[1:]))
