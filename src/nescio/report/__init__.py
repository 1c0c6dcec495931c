"""Reports: the article's picture of one answer, and self-contained HTML pages.

Read in this order: :mod:`colours`, :mod:`reference`, :mod:`picture`, :mod:`content`,
:mod:`compose`, :mod:`html`; then :mod:`thumbnail`, :mod:`review`.
"""

from nescio.report.compose import compose_report
from nescio.report.content import (
    Card,
    Gallery,
    Report,
    confusion_with_refusal,
    image_png,
)
from nescio.report.html import render_report, write_report
from nescio.report.picture import answer_png, draw_answer, save_answer
from nescio.report.reference import Reference
from nescio.report.review import (
    Question,
    Review,
    compose_review,
    questions,
    render_review,
    write_review,
)

__all__ = [
    "Card",
    "Gallery",
    "Question",
    "Reference",
    "Report",
    "Review",
    "answer_png",
    "compose_report",
    "compose_review",
    "confusion_with_refusal",
    "draw_answer",
    "image_png",
    "questions",
    "render_report",
    "render_review",
    "save_answer",
    "write_report",
    "write_review",
]
