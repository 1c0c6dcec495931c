"""Ranks: the processes of one job, and what they tell each other.

:mod:`ranks`    the protocol, and one process alone
:mod:`talk`     what is built on it: agreement, errors that all of them learn of
:mod:`fabric`   processes that torchrun started, by Lightning Fabric
"""

from nescio.ranks.fabric import join_ranks
from nescio.ranks.ranks import SOLO, Ranks, share_of
from nescio.ranks.talk import agree, exchange, gather_bytes, gather_rows, together, total_

__all__ = [
    "SOLO",
    "Ranks",
    "agree",
    "exchange",
    "gather_bytes",
    "gather_rows",
    "join_ranks",
    "share_of",
    "together",
    "total_",
]
