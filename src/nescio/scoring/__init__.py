"""Scoring: answers for any number of images, by one process or several, into one file.

Read in this order: :mod:`batches`, :mod:`pieces`, :mod:`arrays`, :mod:`encoded`, :mod:`sources`,
:mod:`answers`, :mod:`writing`, :mod:`formats`, :mod:`parquet`, :mod:`parts`, :mod:`watch`,
:mod:`run`.
"""

from nescio.scoring.answers import table_columns
from nescio.scoring.batches import Batch, batch_of_files, find_image_files, is_image_file
from nescio.scoring.formats import choose_format
from nescio.scoring.parts import Counts
from nescio.scoring.run import KEEP, Result, Settings, score

__all__ = [
    "KEEP",
    "Batch",
    "Counts",
    "Result",
    "Settings",
    "batch_of_files",
    "choose_format",
    "find_image_files",
    "is_image_file",
    "score",
    "table_columns",
]
