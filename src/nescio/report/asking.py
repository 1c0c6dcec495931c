"""The page on which a person labels refusals: HTML with its own script, self-contained."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

from markupsafe import Markup

from nescio.files import write_text
from nescio.report.pages import environment, source
from nescio.report.review import SECTIONS, Review


def render_review(review: Review) -> str:
    """The page as HTML; everything in it that is not markup is escaped."""
    style, script = (source(f"review.{kind}") for kind in ("css", "js"))
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src {_hash(script)}; style-src {_hash(style)}"
    )
    return (
        environment()
        .get_template("review.html.jinja")
        .render(
            review=review,
            sections=_sections(review),
            data={
                "fingerprint": review.fingerprint,
                "classes": review.classes,
                "images": [question.name for question, _ in review.cards],
                "proposals": [question.proposals for question, _ in review.cards],
                "keys": review.keys,
            },
            policy=policy,
            style=Markup(style),  # noqa: S704 - our own files
            script=Markup(script),  # noqa: S704
        )
    )


def write_review(path: Path, review: Review) -> None:
    """Write the page to ``path``, whole or not at all."""
    write_text(path, render_review(review))


def _sections(review: Review) -> list[dict[str, Any]]:
    """What the page lists, reason by reason; cards are numbered through."""
    numbered = list(enumerate(review.cards))
    found = []
    for reason, (heading, sentence) in SECTIONS.items():
        cards = [card for card in numbered if card[1][0].reason is reason]
        if cards:
            found.append({"heading": heading, "sentence": sentence, "cards": cards})
    return found


def _hash(text: str) -> str:
    """What a Content-Security-Policy calls this very text."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
