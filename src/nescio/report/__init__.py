"""Reports: the article's picture of one answer, and a self-contained HTML page.

Read in this order: :mod:`colours`, :mod:`reference`, :mod:`picture`, :mod:`content`,
:mod:`compose`, :mod:`html`.
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

__all__ = [
    "Card",
    "Gallery",
    "Reference",
    "Report",
    "answer_png",
    "compose_report",
    "confusion_with_refusal",
    "draw_answer",
    "image_png",
    "render_report",
    "save_answer",
    "write_report",
]
