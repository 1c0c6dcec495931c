"""Studies that are made up, without a network."""

from typing import Any

import numpy as np
import torch

from nescio.evaluation import (
    CorruptionCurve,
    Grade,
    Interval,
    JudgedSet,
    ModelCard,
    Specimen,
    Study,
    TrainingPass,
)
from nescio.evaluation.figures import compact, forced_figures, judged_set, studied_rule
from nescio.refusal import Decisions, NeverRefuse, QuantileRule, Rule

CLASSES = ("<b>a</b>", "b&c", 'd"e')


def decisions(probabilities: torch.Tensor, rule: Rule, classes: tuple[str, ...]) -> Decisions:
    """Of ``(S, N, C)`` probabilities."""
    mean = probabilities.mean(0)
    return Decisions(
        classes=classes,
        verdicts=rule(probabilities),
        forced=mean.argmax(1),
        probability=mean,
        median=probabilities.median(0).values,
        scores={},
        samples=torch.full((len(mean),), len(probabilities)),
    )


def drawn(n: int, seed: int, classes: int = 3, sharpness: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre = sharpness * torch.randn(n, classes, generator=generator)
    return (centre + torch.randn(5, n, classes, generator=generator)).softmax(-1)


def card(name: str = "m", **changes: Any) -> ModelCard:
    plain: dict[str, Any] = {
        "name": name,
        "network": "cnn",
        "parameters": 10,
        "random_parameters": 4,
        "images": (1, 28, 28),
        "recipe": {"name": "default", "epochs": 3, "forced_samples": None},
        "kl_weight": 1.0,
        "seed": 0,
        "data": "made",
        "fingerprint": "f",
        "posterior": "p",
        "train_images": 9,
        "calibration_images": 3,
        "stopped": None,
        "history": (TrainingPass(1, -2.0, -1.0, 1.0, 0.5, None),),
        "versions": {"nescio": "0"},
        "stages": ("image", "output"),
        "reference": np.array([0.5, np.inf], np.float32),
    }
    return ModelCard(**plain | changes)


SPECIMEN = Specimen(
    gallery="wrong",
    set="made",
    index=3,
    name="made[3]",
    png=b"\x89PNG",
    actual="<b>a</b>",
    label=None,
    reason="unfamiliar",
    text="I don't know (unfamiliar)",
    forced="b&c",
    proposed=(),
    classes=CLASSES,
    probability=(0.1, 0.2, 0.7),
    median=(0.1, 0.2, 0.7),
    edges=(-2.0, -1.0, 0.0),
    counts=((1, 4), (5, 0), (0, 5)),
    scores={"unfamiliarity": float("inf")},
    nearest=None,
    stage=None,
    samples=5,
)


def make_up(
    n: int = 40,
    *,
    seed: int = 0,
    rules: tuple[Rule, ...] = (QuantileRule(0.5, 0.6), NeverRefuse()),
    shifted: tuple[str, ...] = ("noise",),
    classes: tuple[str, ...] = CLASSES,
    name: str = "m",
    resamples: int = 50,
) -> Study:
    """A study of made-up predictions; the labels do not depend on the seed."""
    labels = torch.arange(n) % len(classes)

    def judged(set_name: str, probabilities: torch.Tensor, truth: torch.Tensor | None) -> JudgedSet:
        each = [decisions(probabilities, rule, classes) for rule in rules]
        return judged_set(set_name, each, labels=truth, fingerprint=f"{set_name}{n}")

    probabilities = drawn(n, seed, len(classes))
    probabilities[:, :, :] = torch.where(
        torch.rand(n, 1, generator=torch.Generator().manual_seed(seed)) < 0.8,
        probabilities * 0.2 + 0.8 * torch.nn.functional.one_hot(labels, len(classes)),
        probabilities,
    )
    test = judged("made", probabilities, labels)
    others = {
        key: judged(key, drawn(n // 2 + 1, seed + 7, len(classes), 0.5), None) for key in shifted
    }
    exact = Interval(0.5, 0.1, 0.9)
    grade = Grade(0, exact, None, exact, {"ambiguous": 1, "unfamiliar": 0})
    return Study(
        model=card(name),
        classes=classes,
        samples=5,
        seed=seed,
        resamples=resamples,
        test=compact(test, test=True),
        shifted={key: compact(each, test=False) for key, each in others.items()},
        forced=forced_figures(test, resamples=resamples),
        rules=tuple(
            studied_rule(rule, place, test, others, resamples=resamples)
            for place, rule in enumerate(rules)
        ),
        curves={"blur": CorruptionCurve("blur", "less sharp", 20, (grade,))},
        specimens=(SPECIMEN,),
        command="nescio evaluate x y",
        seconds={"made": 0.5},
    )
