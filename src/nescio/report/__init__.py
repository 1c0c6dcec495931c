"""Reports: the article's picture of one answer, and a self-contained HTML page on a study.

Read in this order: :mod:`colours`, :mod:`reference`, :mod:`picture`; for the page :mod:`words`,
:mod:`svg`, :mod:`curves`, :mod:`histograms`, :mod:`prose`, :mod:`sections`, :mod:`galleries`,
:mod:`html`.
"""

from nescio.report.html import render_report, write_report
from nescio.report.picture import answer_png, draw_answer, save_answer
from nescio.report.reference import Reference

__all__ = [
    "Reference",
    "answer_png",
    "draw_answer",
    "render_report",
    "save_answer",
    "write_report",
]
