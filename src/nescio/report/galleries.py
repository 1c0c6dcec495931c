"""Galleries of the report: images that share a fate, each with the article's histograms."""

from __future__ import annotations

import math
from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO

from markupsafe import Markup
from PIL import Image

from nescio.evaluation.study import Specimen, Study
from nescio.report.histograms import VOTES, Vote, familiarity_strip, votes
from nescio.report.words import listed

CARDS = 6
"""Images in a gallery, at most."""

SETS = 12
"""Shifted sets that have galleries, at most."""

SIDE = 160
"""Pixels that a large image is brought to, so that hundreds fit into a page."""

PIXELATED = 96
"""Up to this side an image is shown pixel by pixel, as the network saw it."""


@dataclass(frozen=True)
class Card:
    """One image with its answer.

    Attributes:
        image: A data URI.
        pixelated: Whether its pixels are shown as they are.
        alt: What it is, for those who cannot see it.
        verdict: The label, or "I don't know".
        answered: Whether there is an answer.
        notes: Short remarks, such as ``it is 4``.
        text: The answer in a sentence.
        votes: The article's histograms.
        votes_in_words: The same for those who cannot see them.
        axis: What they show from left to right.
        strip: Where the image stands among the calibration images, if that is judged.
    """

    image: Markup
    pixelated: bool
    alt: str
    verdict: str
    answered: bool
    notes: tuple[str, ...]
    text: str
    votes: tuple[Vote, ...]
    votes_in_words: str
    axis: str
    strip: Markup | None


@dataclass(frozen=True)
class Gallery:
    """Some images that share a fate.

    Attributes:
        title: Its heading.
        explanation: What to see, or why there is nothing to see.
        cards: The images.
    """

    title: str
    explanation: str
    cards: tuple[Card, ...] = ()


def galleries(study: Study) -> list[Gallery]:
    """All galleries, the errors first."""
    name = study.test.name
    own = [
        _gallery(
            study,
            "wrong",
            name,
            "The surest errors first: what a refusal should have caught.",
            nothing=f"None of its answers on {name} is wrong.",
        ),
        _gallery(
            study,
            "ambiguous",
            name,
            f"Images of {name} that could be this or that; the most doubtful first.",
            nothing=f"No image of {name} was refused as ambiguous.",
        ),
        _gallery(
            study,
            "unfamiliar",
            name,
            f"Images of {name} that are unlike those that it was taught; the strangest first.",
            nothing=f"No image of {name} was refused as unfamiliar.",
        ),
    ]
    others = [gallery for other in list(study.shifted)[:SETS] for gallery in _shifted(study, other)]
    right = _gallery(
        study,
        "right",
        name,
        "To compare: from the surest to the least sure.",
        nothing=f"None of its answers on {name} is right.",
    )
    return [*own, *others, right]


def _shifted(study: Study, name: str) -> list[Gallery]:
    """Of a shifted set: what was answered, if anything, and what was refused."""
    own = study.rules[0].shifted[name]
    refused = _gallery(
        study,
        "refused",
        name,
        f"Nothing that the network was taught, and it says so, for {own.refused:,} of {own.n:,} "
        "images.",
        nothing=f"No image of {name} was refused.",
    )
    if own.refused == own.n:
        return [refused]
    answered = _gallery(
        study,
        "accepted",
        name,
        f"{own.n - own.refused:,} of {own.n:,} images are nothing that the network was taught, "
        "and yet it named a class; the surest first.",
    )
    return [answered, refused]


TITLES = {
    "wrong": "Answered, but wrong",
    "ambiguous": "Refused as ambiguous",
    "unfamiliar": "Refused as unfamiliar",
    "accepted": "{}: answered nevertheless",
    "refused": "{}: refused",
    "right": "Answered, and right",
}
"""By the kind of a gallery; the braces are for the name of the set."""


def _gallery(study: Study, kind: str, name: str, explanation: str, *, nothing: str = "") -> Gallery:
    title = TITLES[kind].format(name)
    chosen = [s for s in study.specimens if s.gallery == kind and s.set == name][:CARDS]
    if not chosen:
        return Gallery(title, nothing if _is_empty(study, kind, name) else "No image was kept.")
    return Gallery(title, explanation, tuple(_card(study, specimen) for specimen in chosen))


def _is_empty(study: Study, kind: str, name: str) -> bool:
    """Whether the study counts no such image, rather than keeping none to show."""
    own = study.shifted.get(name, study.test)
    answers = own.answers[0]
    accepted = answers.accepted
    if kind in ("ambiguous", "unfamiliar"):
        return study.rules[0].figures.reasons[kind] == 0
    if kind == "accepted":
        return not accepted.any()
    if kind == "refused":
        return bool(accepted.all())
    right = answers.top == own.labels
    return not (accepted & (right if kind == "right" else ~right)).any()


def _card(study: Study, specimen: Specimen) -> Card:
    image, pixelated = data_uri(specimen.png)
    known = specimen.actual is not None
    best = sorted(zip(specimen.classes, specimen.median, strict=True), key=lambda pair: -pair[1])[
        :3
    ]
    medians = ", ".join(f"{name} {median:.2f}" for name, median in best)
    return Card(
        image=image,
        pixelated=pixelated,
        alt=f"Image {specimen.name}" + (f", really {specimen.actual}" if known else ""),
        verdict=specimen.label if specimen.label is not None else "I don\u2019t know",
        answered=specimen.label is not None,
        notes=tuple(_notes(specimen)),
        text=_sentence(study, specimen),
        votes=tuple(votes(specimen)),
        votes_in_words="Histograms of each class's probability under the sampled networks. "
        f"Highest medians: {medians}.",
        axis=_axis(specimen),
        strip=_strip(study, specimen),
    )


def _notes(specimen: Specimen) -> list[str]:
    notes = []
    if specimen.reason == "ambiguous":
        several = len(specimen.proposed) > 1
        names = listed(specimen.proposed, 3)
        notes.append(f"between {names}" if several else f"perhaps {specimen.forced}")
    elif specimen.reason == "unfamiliar" and specimen.nearest is not None:
        notes.append(f"nearest to {specimen.nearest}")
    if specimen.actual is not None:
        right = specimen.label == specimen.actual
        notes.append("right" if right else f"it is {specimen.actual}")
    return notes


def _sentence(study: Study, specimen: Specimen) -> str:
    shown, classes = min(len(specimen.classes), VOTES), len(study.classes)
    many = f" The {shown} most probable of {classes} classes." if shown < classes else ""
    if specimen.label is None:
        return f"{specimen.name}: {specimen.text}.{many}"
    known = dict(zip(specimen.classes, specimen.probability, strict=True))
    sure = f", with probability {known[specimen.label]:.3g}" if specimen.label in known else ""
    return f"{specimen.name}: \u201c{specimen.label}\u201d{sure}.{many}"


def _axis(specimen: Specimen) -> str:
    return (
        f"Columns count the {specimen.samples} networks by the probability that they give the "
        f"class: from {_power(specimen.edges[0])} at the left to 1 at the right, on a "
        "logarithmic scale. Below each the median."
    )


def _power(logarithm: float) -> str:
    """A power of e, for a reader."""
    value = math.exp(logarithm)
    if value >= 1e-3:
        return f"{value:.2g}"
    digits = str.maketrans(
        "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
    )
    return f"10{f'{math.log10(value):.0f}'.translate(digits)}"


def _strip(study: Study, specimen: Specimen) -> Markup | None:
    strange, reference = specimen.scores.get("unfamiliarity"), study.model.reference
    threshold = unfamiliar_threshold(study)
    if strange is None or reference is None or threshold is None:
        return None
    return familiarity_strip(reference, threshold, strange, refused=specimen.reason == "unfamiliar")


def unfamiliar_threshold(study: Study) -> float | None:
    """What is beyond it is refused as unfamiliar; ``None`` where the rule does not judge that.

    Where each class has its own it is the largest: beyond it nothing passes.
    """
    return _threshold(study, "unfamiliar")


def doubt_threshold(study: Study) -> float | None:
    """What is beyond it is refused as ambiguous; ``None`` where no doubt is too much."""
    record = study.rules[0].record
    if record.get("kind") == "quantile":
        return 1.0 - float(record["threshold"])
    return _threshold(study, "doubtful")


def _threshold(study: Study, name: str) -> float | None:
    record = study.rules[0].record
    if record.get("kind") != "calibrated":
        return None
    ends = {"all": math.inf, "none": -math.inf}
    return max(ends[t] if isinstance(t, str) else float(t) for t in record[name])


def data_uri(png: bytes) -> tuple[Markup, bool]:
    """An image for a page, and whether its pixels are to be shown as they are.

    Large images are made smaller and compressed: a report may hold hundreds.
    """
    with Image.open(BytesIO(png)) as image:
        if max(image.size) <= PIXELATED:
            return _encode(png, "png"), True
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        buffer = BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=85, optimize=True)
    return _encode(buffer.getvalue(), "jpeg"), False


def _encode(content: bytes, kind: str) -> Markup:
    # Base64 holds no markup.
    return Markup(f"data:image/{kind};base64,{b64encode(content).decode()}")  # noqa: S704
