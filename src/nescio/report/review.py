"""Which images a person is asked about, and what is said of each; :mod:`asking` shows them.

A person labels them on one page, which saves a CSV file that ``nescio train --extra-labels``
takes (:mod:`nescio.data.labels`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, zip_longest
from pathlib import Path

from torch import Tensor

from nescio.errors import UnreadableImage
from nescio.progress import SILENT, Reporter
from nescio.refusal import Decision, Decisions, Reason
from nescio.report.thumbnail import Thumbnail, thumbnail
from nescio.report.words import percent

LIMIT = 200
"""Images on a page, unless told otherwise."""

LARGEST_PAGE = 10_000_000
"""Bytes; images that would make the page larger are left out, whatever the limit."""

SHARE_OF_CARDS = 0.9
"""Of the page's bytes; the rest is for classes, style and script."""

MARKUP, MENTIONS = 3_000, 20
"""Bytes of a card beside its image and its names, and for each letter of those: they come several
times, escaped."""

LIKELY = 3
"""The most probable classes that are proposed in any case."""

MOST_PROPOSED = 9
"""One for each digit key."""

AT_ONCE = 64
"""Files that are read again at a time, to be shown."""

SECTIONS: Mapping[Reason | None, tuple[str, str]] = {
    Reason.AMBIGUOUS: ("Ambiguous", "It may be one class or another; the most doubtful first."),
    Reason.UNFAMILIAR: ("Unfamiliar", "Unlike what it was taught; the strangest first."),
    None: ("Answered", "Not refused; the least sure first."),
}
"""The heading and a sentence for each reason, in the order of the page."""


@dataclass(frozen=True)
class Question:
    """One image that wants a label.

    Attributes:
        name: As ``nescio train --extra-labels`` finds the image.
        picture: Its file, or ``(K, H, W)`` uint8.
        reason: Why it was refused; ``None`` where it was answered.
        words: What the model says of it.
        facts: What else there is to know, in words.
        doubt: Larger where its reason is stronger.
        proposals: Classes to choose from, by place: those that the rule puts forward, as the words
            say, then the most probable others.
        probabilities: Of these, as the networks say by themselves.
    """

    name: str
    picture: Path | Tensor
    reason: Reason | None
    words: str
    facts: tuple[str, ...]
    doubt: float
    proposals: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Review:
    """Everything that the page shows.

    Attributes:
        title: What was looked through.
        looked: How many images that was.
        wanted: How many of them there are to label; the page may hold fewer.
        answered: Whether those that were answered are among them.
        classes: The ``C`` class names.
        cards: The images of the page with their thumbnails, section by section.
        failures: Images that could not be read, and why.
        held_out: Whether they are held out of training for tests, so that labels of them are not
            to be trained on.
    """

    title: str
    looked: int
    wanted: int
    answered: bool
    classes: tuple[str, ...]
    cards: tuple[tuple[Question, Thumbnail], ...]
    failures: tuple[tuple[str, str], ...]
    held_out: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256 of classes, names and images: what labels of this page are labels of."""
        digest = sha256(json.dumps([self.classes, [q.name for q, _ in self.cards]]).encode())
        for _, picture in self.cards:
            digest.update(sha256(picture.content).digest())
        return digest.hexdigest()

    @property
    def keys(self) -> dict[str, int]:
        """Keys that stand for a class wherever it is one letter or digit, such as digits."""
        keys = {name.casefold(): place for place, name in enumerate(self.classes)}
        plain = all(len(n) == 1 and n.isascii() and n.isalnum() for n in self.classes)
        return keys if plain and len(keys) == len(self.classes) else {}


def questions(
    decisions: Decisions,
    names: Sequence[str],
    pictures: Sequence[Path] | Tensor,
    *,
    answered: bool = False,
) -> list[Question]:
    """What to ask about ``N`` images: about those that were refused.

    Args:
        decisions: On the images.
        names: As ``nescio train --extra-labels`` finds each.
        pictures: Their files, or ``(N, K, H, W)`` uint8.
        answered: Ask about the others, too.
    """
    verdicts = decisions.verdicts
    chosen = range(len(decisions)) if answered else (~decisions.accepted).nonzero().flatten()
    asked = []
    for i in map(int, chosen):
        decision = decisions[i]
        unfamiliar = decision.reason is Reason.UNFAMILIAR
        doubt = (verdicts.unfamiliarity if unfamiliar else verdicts.ambiguity)[i]
        places = _proposals(decisions, i)
        asked.append(
            Question(
                name=names[i],
                picture=pictures[i],
                reason=decision.reason,
                words=_words(decision),
                facts=tuple(_facts(decision)),
                doubt=float(doubt),
                proposals=places,
                probabilities=tuple(decisions.probability[i, list(places)].tolist()),
            )
        )
    return asked


def compose_review(
    title: str,
    asked: Sequence[Question],
    classes: Sequence[str],
    *,
    looked: int,
    failures: Sequence[tuple[str, str]] = (),
    held_out: bool = False,
    limit: int = LIMIT,
    reporter: Reporter = SILENT,
) -> Review:
    """Choose what is shown, and read the images again as they are.

    Where there are more than ``limit``, or than :data:`LARGEST_PAGE` holds, both reasons have
    their share, and images that were answered come last.

    Args:
        title: What was looked through.
        asked: The images that want a label, see :func:`questions`.
        classes: The ``C`` class names.
        looked: How many images were looked through.
        failures: The names of images that could not be read, and why.
        held_out: As of :class:`Review`.
        limit: Images on the page, at most.
        reporter: Told of progress.
    """
    lost: list[tuple[str, str]] = []
    room, shown = int(LARGEST_PAGE * SHARE_OF_CARDS), []
    chosen = _in_turn(asked)[: max(0, limit)]
    with reporter.task("fetching images for the page", len(chosen), "images") as task:
        for question, picture in _pictures(chosen):
            task.advance()
            if isinstance(picture, UnreadableImage):
                lost.append((question.name, str(picture)))
                continue
            room -= _size(question, picture, classes)
            if room < 0:
                break
            shown.append((question, picture))
    order = list(SECTIONS)
    return Review(
        title=title,
        looked=looked,
        wanted=len(asked) - len(lost),
        answered=any(question.reason is None for question in asked),
        classes=tuple(classes),
        cards=tuple(sorted(shown, key=lambda card: (order.index(card[0].reason), -card[0].doubt))),
        failures=(*failures, *lost),
        held_out=held_out,
    )


def _proposals(decisions: Decisions, i: int) -> tuple[int, ...]:
    """What the rule puts forward, what the image is most like, and what is most probable."""
    probability = decisions.probability[i]
    ranked = [int(c) for c in probability.argsort(descending=True, stable=True)]
    put_forward = {int(c) for c in decisions.verdicts.proposed[i].nonzero().flatten()}
    first = [c for c in ranked if c in put_forward]
    likely = [c for c in ranked[:LIKELY] if c not in put_forward]
    kept = [*first, *likely][:MOST_PROPOSED]
    nearest = int(decisions.verdicts.nearest[i]) if decisions.stages else -1
    if nearest >= 0 and nearest not in kept:
        kept = [*kept[: MOST_PROPOSED - 1], nearest]
    return tuple(kept)


def _words(decision: Decision) -> str:
    if decision.reason is Reason.UNFAMILIAR and decision.nearest is not None:
        return f"Unfamiliar, nearest to {decision.nearest}"
    why = f"answered {decision.label}" if decision.accepted else decision.why
    return f"{why[0].upper()}{why[1:]}"


def _facts(decision: Decision) -> Iterator[str]:
    if decision.nearest is not None:
        unfamiliar = decision.reason is Reason.UNFAMILIAR
        yield (
            f"given away by stage {decision.stage}"
            if unfamiliar
            else (f"nearest to {decision.nearest}")
        )
    share = decision.scores.get("familiarity")
    if share is not None:
        yield f"about {percent(share)} of familiar images are as strange"


def _in_turn(asked: Sequence[Question]) -> list[Question]:
    """By doubt, from one reason and the other in turn; what was answered comes last."""
    groups: dict[Reason | None, list[Question]] = {reason: [] for reason in SECTIONS}
    for question in sorted(asked, key=lambda question: -question.doubt):
        groups[question.reason].append(question)
    answered = groups.pop(None)
    turns = chain.from_iterable(zip_longest(*groups.values()))
    return [*(question for question in turns if question is not None), *answered]


def _pictures(
    chosen: Sequence[Question],
) -> Iterator[tuple[Question, Thumbnail | UnreadableImage]]:
    """Each image for the page, or why there is none any more."""

    def read(question: Question) -> Thumbnail | UnreadableImage:
        try:
            return thumbnail(question.picture)
        except UnreadableImage as error:
            return error

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(chosen), AT_ONCE):
            part = chosen[start : start + AT_ONCE]
            yield from zip(part, pool.map(read, part), strict=True)


def _size(question: Question, picture: Thumbnail, classes: Sequence[str]) -> int:
    """Bytes that a card takes, rather too many than too few."""
    letters = len(question.name) + sum(len(classes[place]) for place in question.proposals)
    return len(picture.uri) + MARKUP + MENTIONS * letters
