"""What a report says in sentences."""

from __future__ import annotations

from nescio.evaluation.study import ModelCard, StudiedRule, Study
from nescio.refusal.wording import ASSUMPTION, GROUPED
from nescio.report.sections import decimals
from nescio.report.words import listed, percent


def title(study: Study) -> str:
    """The heading."""
    return f"What it answers on {study.test.name}, and when it says \u201cI don\u2019t know\u201d"


def summary(study: Study) -> list[str]:
    """What was found, for someone in a hurry."""
    n, figures = len(study.test), study.rules[0].figures
    sentences = [
        f"Of {n:,} images of {study.test.name} that it had never seen, the network answered "
        f"{n - figures.refused:,} and said \u201cI don\u2019t know\u201d to {figures.refused:,}."
    ]
    forced = percent(study.forced.accuracy.value, decimals(n))
    accepted = figures.accepted_accuracy
    if accepted is None:
        sentences.append(
            "As it answered none, there is no accuracy to tell; forced to answer always, it is "
            f"right {forced} of the time."
        )
    else:
        sentences.append(
            f"Where it answered, it was right {percent(accepted.value, decimals(n))} of the time; "
            f"forced to answer always, {forced}."
        )
    rates = [
        f"{percent(own.refusal_rate.value)} of {name}"
        for name, own in study.rules[0].shifted.items()
    ]
    if rates:
        sentences.append(f"Shown what it was never taught, it refused {listed(rates, 6)}.")
    return sentences


def model(study: Study) -> dict[str, str]:
    """What the model is, and what it promises, by a word for each part."""
    card, rule = study.model, study.rules[0]
    calibrated = rule.record.get("kind") == "calibrated"
    refusal = rule.text.removesuffix(ASSUMPTION).removesuffix(GROUPED).strip()
    return {
        "The network": _network(card, study),
        "An answer": f"What {study.samples} networks drawn from those distributions make of "
        "an image together. Where they disagree, it is unsure, and can know that it is.",
        "\u201cI don\u2019t know\u201d": refusal,
        "Promised": _promised(rule) if calibrated else "Nothing: this rule was not calibrated.",
        "Not promised": "That strange images are refused is measured on the sets in this report; "
        "for others it is not known.",
        "Learned from": _learned(card),
    }


def _network(card: ModelCard, study: Study) -> str:
    channels, height, width = card.images
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    whole = card.random_parameters == card.parameters
    which = "all" if whole else f"{card.random_parameters:,}"
    return (
        f"A Bayesian neural network ({card.network}) that sorts {kind} images of {width} \u00d7 "
        f"{height} pixels into {len(study.classes)} classes: {listed(study.classes)}. Of its "
        f"{card.parameters:,} weights and biases {which} are distributions rather than numbers, "
        "fitted by variational inference."
    )


def _promised(rule: StudiedRule) -> str:
    what = f"What is said of {'errors and ' if rule.record.get('max_risk') else ''}refusals above "
    if rule.record.get("calibrated_on", {}).get("grouped"):
        return what + (
            "holds for an image of a new group, each group counting alike, where new groups are "
            "exchangeable with the calibration groups, and for nothing else."
        )
    return what + (
        "holds for images that are exchangeable with the calibration images (drawn alike, in no "
        "order that matters), and for nothing else."
    )


def _learned(card: ModelCard) -> str:
    weight = card.kl_weight
    kl = "as the ELBO says" if weight == 1 else f"{weight:.4g} times what the ELBO says"
    passes = len(card.history)
    stopped = f" It was stopped early: {card.stopped}." if card.stopped else ""
    return (
        f"{card.train_images:,} images of {card.data}, in {passes} "
        f"pass{'' if passes == 1 else 'es'}; {card.calibration_images:,} others were kept for "
        f"calibration. Prior {card.recipe.get('prior', 'not known')}; the KL weighs {kl}.{stopped}"
    )


def provenance(study: Study) -> dict[str, str]:
    """How to make the report again."""
    card = study.model
    kept = {
        "Seed": f"{study.seed}; {study.samples} networks",
        "Model": f"{card.name}, fitted with seed {card.seed}, posterior {card.posterior}",
        "Training data": f"{card.data} {card.fingerprint}",
        "Test images": f"{study.test.name} {study.test.fingerprint}",
        **{f"Set {name}": own.fingerprint for name, own in study.shifted.items()},
        "Versions": ", ".join(f"{name} {number}" for name, number in card.versions.items()),
    }
    return {"Command": study.command or "not recorded", **kept}


def intervals(study: Study) -> str:
    """Where the brackets come from."""
    exact = "In brackets the 95 % interval: for shares of images the exact one (Clopper-Pearson)"
    if not study.resamples:
        return f"{exact}."
    return f"{exact}, for all else by {study.resamples:,} bootstrap resamples of the images."
