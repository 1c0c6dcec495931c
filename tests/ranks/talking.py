"""What each process of a job does in ``test_ranks.py``: say what it learnt of the others."""

import json
import sys
from pathlib import Path

import torch

from nescio.errors import DataError, NescioError
from nescio.ranks import agree, exchange, gather_rows, join_ranks, share_of, together, total_


def main(path: str) -> None:
    ranks = join_ranks("cpu")
    rank = ranks.rank
    found: dict[str, object] = {"rank": rank, "size": ranks.size}
    found["said"] = exchange(ranks, f"I am {rank} \N{SNOWMAN}" * rank)
    rows = torch.full((rank, 2), rank, dtype=torch.int64)
    found["rows"] = [each.tolist() for each in gather_rows(ranks, rows)]
    sums = [torch.full((2, 2), float(rank)), torch.tensor(1.0)]
    total_(ranks, sums)
    found["sums"] = [each.tolist() for each in sums]
    share = share_of(ranks, 7)
    found["share"] = list(range(7))[share]
    found["errors"] = []
    for facts in ({"seed": "3"}, {"seed": "3", "data": "a" if rank == 1 else "b"}):
        try:
            agree(ranks, facts)
        except NescioError as error:
            found["errors"].append([str(error), error.shared])
    for failing in ({1}, {0, 1, 2}, set()):
        try:
            with together(ranks):
                if rank in failing:
                    raise DataError("no such file")
        except NescioError as error:
            found["errors"].append([type(error).__name__, str(error), error.shared])
    ranks.wait()
    with Path(path, f"{rank}.json").open("w") as file:
        json.dump(found, file)


main(sys.argv[1])
