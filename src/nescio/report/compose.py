"""From a judgement to a report: choose what to show, and say it in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nescio.classifier import Classifier, Judgement
from nescio.data import ImageSet
from nescio.evaluation import Evaluation
from nescio.refusal import Decision, Decisions, rule_from_json
from nescio.refusal.wording import ASSUMPTION
from nescio.report.content import (
    Card,
    Gallery,
    Report,
    confusion_with_refusal,
    image_png,
    percent,
)
from nescio.report.picture import answer_png
from nescio.report.reference import Reference

CARDS = 5
"""Images in a gallery, at most."""


def compose_report(classifier: Classifier, judgement: Judgement, command: str) -> Report:
    """The report on one judgement.

    Args:
        classifier: The one that was judged.
        judgement: Figures and decisions, see :func:`nescio.classifier.judge`.
        command: What makes this report again.
    """
    evaluation = judgement.evaluation
    show = _Show(classifier, evaluation)
    labels = judgement.test.require_labels()
    return Report(
        title=f"What {evaluation.data} taught the network, and what it refuses",
        summary=tuple(_summary(evaluation)),
        evaluation=evaluation,
        classes=classifier.classes,
        confusion=confusion_with_refusal(labels, judgement.decisions),
        galleries=tuple(g for g in _galleries(judgement, labels, show) if g.cards),
        history=classifier.record.history,
        model=_model(classifier, evaluation),
        provenance=_provenance(classifier, evaluation, command),
    )


def _summary(evaluation: Evaluation) -> list[str]:
    answered = evaluation.n - evaluation.refused
    accepted = evaluation.accepted_accuracy
    sentences = [
        f"Of {evaluation.n:,} images of {evaluation.data} that it had never seen, the network "
        f"answered {answered:,} and said “I don't know” to {evaluation.refused:,}."
    ]
    if accepted is None:
        sentences.append("As it answered none, there is no accuracy to tell.")
    else:
        sentences.append(
            f"Where it answered it was right {percent(accepted.value)} of the time; forced "
            f"to answer always, {percent(evaluation.forced_accuracy.value)}."
        )
    sentences += [
        f"Of {other.n:,} images of {name}, which are nothing it was taught, it refused "
        f"{percent(other.refusal_rate.value)}."
        for name, other in evaluation.ood.items()
    ]
    return sentences


def _galleries(judgement: Judgement, labels: Tensor, show: _Show) -> list[Gallery]:
    test, decisions = judgement.test, judgement.decisions
    accepted = decisions.accepted
    right = decisions.verdicts.top == labels
    confidence = decisions.probability.max(-1).values
    galleries = [
        Gallery(
            "Answered, and right",
            "Taken evenly from the surest to the least sure.",
            show.cards(test, decisions, _spread(accepted & right, confidence)),
        ),
        Gallery(
            "Answered, but wrong",
            "The surest errors first. These are what a refusal should have caught.",
            show.cards(test, decisions, _highest(accepted & ~right, confidence)),
        ),
        Gallery(
            f"“I don't know” to {test.name}",
            "Refused although they are of the kind that it was taught; the most doubtful first.",
            show.cards(test, decisions, _highest(~accepted, -confidence)),
        ),
    ]
    for name, (images, other) in judgement.shifted.items():
        galleries += [
            Gallery(
                f"“I don't know” to {name}",
                "Nothing that the network was taught, and it says so.",
                show.cards(images, other, _spread(~other.accepted, other.verdicts.unfamiliarity)),
            ),
            Gallery(
                f"{name}, answered nevertheless",
                "Nothing that the network was taught, and yet it named a class; the surest first.",
                show.cards(
                    images, other, _highest(other.accepted, other.probability.max(-1).values)
                ),
            ),
        ]
    return galleries


def _highest(mask: Tensor, key: Tensor) -> list[int]:
    """The images in ``mask`` ``(N,)`` with the highest ``key`` ``(N,)``."""
    members = mask.nonzero().flatten()
    order = key[members].argsort(descending=True, stable=True)
    return members[order][:CARDS].tolist()


def _spread(mask: Tensor, key: Tensor) -> list[int]:
    """Images in ``mask`` ``(N,)`` taken evenly from the highest ``key`` to the lowest."""
    members = mask.nonzero().flatten()
    ranked = members[key[members].argsort(descending=True, stable=True)]
    if len(ranked) <= CARDS:
        return ranked.tolist()
    return ranked[torch.linspace(0, len(ranked) - 1, CARDS).round().long()].tolist()


@dataclass(frozen=True)
class _Show:
    """Makes cards; the same networks are drawn again for the few images that are shown."""

    classifier: Classifier
    evaluation: Evaluation

    def cards(
        self, images: ImageSet, decisions: Decisions, chosen: Sequence[int]
    ) -> tuple[Card, ...]:
        if not chosen:
            return ()
        few = images.subset(torch.tensor(list(chosen)))
        logits = torch.cat(
            list(
                self.classifier.stream_logits(
                    few, samples=self.evaluation.samples, seed=self.evaluation.seed
                )
            ),
            1,
        )
        logs = logits.log_softmax(-1).cpu()
        prepared = self.classifier.prepare(few)
        return tuple(
            self._card(logs[:, i], decisions[index], prepared[i], self._actual(few, i))
            for i, index in enumerate(chosen)
        )

    def _actual(self, images: ImageSet, index: int) -> str | None:
        return None if images.labels is None else images.classes[int(images.labels[index])]

    def _card(self, logs: Tensor, decision: Decision, image: Tensor, actual: str | None) -> Card:
        classes = self.classifier.classes
        reference = Reference.of(self.classifier, rule_from_json(self.evaluation.rule))
        best = sorted(classes, key=lambda name: -decision.median[name])[:3]
        medians = ", ".join(f"{name} {decision.median[name]:.2f}" for name in best)
        return Card(
            image=image_png(image),
            caption="" if actual is None else f"really {actual}",
            verdict=str(decision),
            accepted=decision.accepted,
            picture=answer_png(
                logs, decision, classes, image=image, actual=actual, reference=reference
            ),
            words=f"Histograms of the sampled probabilities. Highest medians: {medians}."
            + _familiarity_in_words(reference, decision),
        )


def _familiarity_in_words(reference: Reference | None, decision: Decision) -> str:
    """The small histogram of a picture, for those who cannot see it."""
    strange = decision.scores.get("unfamiliarity")
    if reference is None or strange is None:
        return ""
    below = int((reference.unfamiliarity < strange).sum())
    return (
        f" Unfamiliarity {strange:.3g} nats: more than that of {below:,} of "
        f"{len(reference.unfamiliarity):,} calibration images."
    )


def _model(classifier: Classifier, evaluation: Evaluation) -> dict[str, str]:
    recipe, record = classifier.recipe, classifier.record
    random = sum(value.numel() for value in classifier.guide.loc.values())
    parameters = sum(value.numel() for value in classifier.network.parameters())
    all_random = "each of its" if random == parameters else f"{random:,} of its"
    weight = recipe.effective_kl_weight(record.train_images)
    kl = "as the ELBO says" if weight == 1 else f"{weight:.4g} times what the ELBO says"
    return {
        "Network": f"{classifier.spec.name}; {all_random} {parameters:,} weights and biases "
        f"{'is a distribution, not a number' if random == parameters else 'are distributions'}",
        "An answer": f"is taken from {evaluation.samples} networks drawn from those distributions",
        "Learned from": f"{record.train_images:,} images of {record.data}, in "
        f"{len(record.history)} passes; prior {recipe.prior}; the KL is weighed {kl}",
        "Rule": evaluation.rule_text,
        "What is promised": ASSUMPTION
        if evaluation.rule["kind"] == "calibrated"
        else "Nothing: this rule was not calibrated.",
        "What is not": "That strange images are refused is measured on the sets in this report, "
        "not promised for others.",
    }


def _provenance(classifier: Classifier, evaluation: Evaluation, command: str) -> dict[str, str]:
    record = classifier.record
    return {
        "Command": command,
        "Seed": f"{evaluation.seed}",
        "Data fingerprint": record.fingerprint,
        "Versions": ", ".join(f"{name} {number}" for name, number in record.versions.items()),
    }
