"""``nescio reproduce``: the article's figures beside ours."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from nescio.cli.console import make_reporter, print_json, print_result, print_table
from nescio.cli.options import Common, FileOptions
from nescio.cli.sources import read_as


def reproduce(
    data: str = "mnist",
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    files: FileOptions = FileOptions(),  # noqa: B008 - frozen
    common: Common = Common(),  # noqa: B008 - frozen
) -> None:
    """Train the article's recipe exactly, and the default; hold both against the article.

    Parameters
    ----------
    data
        mnist, as in the article. Any other set shows the same rows for that set.
    as_json
        Print one JSON object.
    """
    from nescio.evaluation.published import ARTICLE_LOSS
    from nescio.reproduce import reproduce as run

    result = run(
        data,
        seed=common.seed or 0,
        samples=common.samples,
        device=common.device,
        precision=common.precision,
        reading=read_as(files),
        reporter=make_reporter(quiet=common.quiet),
    )
    if as_json:
        print_json(result.to_json())
        return
    rows = [
        (
            row.published.name,
            str(row.published),
            "-" if row.article is None else row.article.percent(1),
            "-" if row.default is None else row.default.percent(1),
        )
        for row in result.rows
    ]
    rows.append(
        (
            "loss per image after each pass",
            ", ".join(str(loss) for loss in ARTICLE_LOSS),
            ", ".join(f"{loss:.0f}" for loss in result.losses),
            "-",
        )
    )
    title = f"{data}, seed {result.seed}: the article's figures and ours, with exact 95 % intervals"
    columns = ("", "article", "article's recipe here", "nescio's default recipe")
    print_table(title, columns, rows)
    for name, why in result.missing.items():
        print_result(f"{name} was not tried: {why}")
    print_result(f"{result.seconds:.0f} s, at most {result.peak_bytes / 1e9:.1f} GB of memory")
