"""Reports: the article's picture of one answer, and self-contained HTML pages.

Read in this order: :mod:`colours`, :mod:`reference`, :mod:`picture`; for both pages
:mod:`words`, :mod:`pages`; for the page on a study :mod:`svg`, :mod:`curves`, :mod:`histograms`,
:mod:`prose`, :mod:`sections`, :mod:`classes`, :mod:`galleries`, :mod:`html`; for the page of
refusals :mod:`thumbnail`, :mod:`review`, :mod:`asking`.
"""

from nescio.report.asking import render_review, write_review
from nescio.report.html import render_report, write_report
from nescio.report.picture import answer_png, draw_answer, save_answer
from nescio.report.reference import Reference
from nescio.report.review import (
    Question,
    Review,
    compose_review,
    questions,
)

__all__ = [
    "Question",
    "Reference",
    "Review",
    "answer_png",
    "compose_review",
    "draw_answer",
    "questions",
    "render_report",
    "render_review",
    "save_answer",
    "write_report",
    "write_review",
]
