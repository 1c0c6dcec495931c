"""Write docs/quality.md and its picture from what quality.py counted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import Template
from PIL import Image
from quality import TOLD, WORLDS
from scipy import stats
from torch import Tensor

from nescio import Interval
from nescio.data import Preprocessing, mixed_shapes, novel_shapes, shapes, striped_shapes
from nescio.evaluation.intervals import exact_share

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
COLOUR = Preprocessing(3, 32, 32)
Repeat = dict[str, Any]


def mean_share(counts: Sequence[tuple[int, int]]) -> Interval | None:
    """The mean share over training sets, with a 95 % interval for it.

    Training sets differ, so their images are no independent draws: the interval is Student's
    over the shares of the sets. Where these happen to be alike it would be too short, so it
    covers at least the exact interval of all images together.
    """
    counts = [(count, total) for count, total in counts if total]
    if not counts:
        return None
    pooled = exact_share(sum(c for c, _ in counts), sum(t for _, t in counts))
    assert pooled is not None
    mean, half = mean_and_half([c / t for c, t in counts])
    return Interval(
        mean, min(pooled.low, mean, max(0.0, mean - half)), max(pooled.high, min(1.0, mean + half))
    )


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half of Student's 95 % interval."""
    n, mean = len(values), math.fsum(values) / len(values)
    if n < 2:
        return mean, 0.0
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    return mean, float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)


def shown(repeats: Sequence[Repeat], count: Callable[[Repeat], tuple[int, int]]) -> str:
    interval = mean_share([count(each) for each in repeats])
    return "-" if interval is None else interval.percent(1).replace(" %", "")


def number(values: Sequence[float], digits: int = 2) -> str:
    mean, half = mean_and_half(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}" if len(values) > 1 else f"{mean:.{digits}f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def title(case: dict[str, Any]) -> str:
    return f"{case['data']}, {case['each'] or 'all'} a class"


def familiar_table(cases: Sequence[dict[str, Any]]) -> str:
    rows = []
    for case in cases:
        repeats: list[Repeat] = case["repeats"]
        first, n = repeats[0], repeats[0]["test"]["images"]
        rows.append(
            [
                title(case),
                f"{len(repeats)}",
                f"{first['training_images']} + {first['calibration_images']}",
                shown(repeats, lambda r: (r["test"]["right_forced"], r["test"]["images"])),
                shown(repeats, lambda r: (r["test"]["answered"], r["test"]["images"])),
                shown(repeats, lambda r: (r["test"]["right_answered"], r["test"]["answered"])),
                shown(repeats, lambda r: (r["test"]["unfamiliar"], r["test"]["images"])),
                f"{100 * first['max_refusal']:g}" if first["familiarity_gate"] else "no gate",
                number([r["test"]["nll"] for r in repeats]),
                f"{n:,}",
            ]
        )
    return table(
        [
            "data", "training sets", "images to train + to calibrate", "right when forced, %",
            "answered, %", "right when answered, %", "refused as unfamiliar, %",
            "of that promised at most, %", "NLL", "test images",
        ],
        rows,
    )  # fmt: skip


def strange_table(cases: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for case in cases for name in case["repeats"][0]["strange"]))
    rows = []
    for case in cases:
        repeats = case["repeats"]
        if not repeats[0]["strange"]:
            continue
        row = [title(case)]
        for name in names:
            known = [r["strange"][name] for r in repeats if name in r["strange"]]
            if not known:
                row += ["-", "-"]
                continue
            row.append(shown(known, lambda k: (k["refused"], k["images"])))
            row.append(number([100 * k["auroc"] for k in known], 1))
        rows.append(row)
    heads = [part for name in names for part in (f"{name} refused, %", "AUROC, %")]
    return table(["data", *heads], rows)


def striped_table(cases: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            title(case),
            shown(known, lambda k: (k["right_forced"], k["images"])),
            shown(known, lambda k: (k["answered"], k["images"])),
            shown(known, lambda k: (k["right_answered"], k["answered"])),
        ]
        for case in cases
        if (known := [r["others"]["shapes-striped"] for r in case["repeats"] if r["others"]])
    ]
    return table(["data", "right when forced, %", "answered, %", "right when answered, %"], rows)


def mixed_table(case: dict[str, Any]) -> str:
    known = [r["mixed"]["bins"] for r in case["repeats"]]
    rows = []
    for number_of, bins in enumerate(zip(*known, strict=True)):
        low, high = 10 * number_of, 10 * (number_of + 1)
        rows.append(
            [
                f"{low} to {high}",
                shown(bins, lambda b: (b["ambiguous"], b["images"])),
                shown(bins, lambda b: (b["both_proposed"], b["ambiguous"])),
                shown(bins, lambda b: (b["unfamiliar"], b["images"])),
                shown(bins, lambda b: (b["answered"], b["images"])),
                shown(bins, lambda b: (b["answered_stronger"], b["answered"])),
            ]
        )
    return table(
        [
            "weaker parent's share, %", "refused as ambiguous, %", "of these both parents proposed",
            "refused as unfamiliar, %", "answered, %", "of these the stronger parent, %",
        ],
        rows,
    )  # fmt: skip


def probability_table(cases: Sequence[dict[str, Any]]) -> str:
    heads = [f"{10 * s} to {10 * s + 10}" for s in range(10)]
    rows = []
    for case in cases:
        known = [r["mixed"] for r in case["repeats"]]
        steps = zip(*(k["probability_of_second"] for k in known), strict=True)
        rows.append(
            [
                title(case),
                *(f"{100 * math.fsum(s) / len(s):.0f}" for s in steps),
                number([100 * k["mean_absolute_error"] for k in known], 1),
                number([k["divergence"] for k in known]),
            ]
        )
    last = ["mean error, points", "divergence, nats"]
    return table(["true probability of the second parent, %", *heads, *last], rows)


def promise_rows(cases: Sequence[dict[str, Any]], *, risk: bool) -> list[list[str]]:
    rows = []
    for case in cases:
        known = [r["promises"] for r in case["repeats"] if "promises" in r]
        for own in zip(*known, strict=True):
            if (own[0]["max_risk"] is not None) != risk:
                continue
            times = sum(o["times"] for o in own)
            row = [title(case), f"{own[0]['images']}", f"{times:,}"]
            if risk:
                broken, promised = (sum(o[k] for o in own) for k in ("broken", "promised"))
                if not promised:
                    continue
                p = stats.binomtest(broken, times, 0.05, alternative="greater").pvalue
                row += [f"{promised:,}", f"{100 * broken / times:.2f}", f"{p:.3f}"]
            else:
                refused = math.fsum(o["refused"] for o in own) / len(own)
                spread = math.sqrt(math.fsum(o["refused_error"] ** 2 for o in own)) / len(own)
                budget = f"{100 * own[0]['max_refusal']:g}"
                row += [budget, f"{100 * refused:.2f} ± {196 * spread:.2f}"]
            rows.append(row)
    return rows


def sheet(images: Tensor, across: int, zoom: int = 2) -> Image.Image:
    """Images ``(n, 3, H, W)`` in rows."""
    n, channels, height, width = images.shape
    grid = images.view(n // across, across, channels, height, width).permute(0, 3, 1, 4, 2)
    picture = Image.fromarray(grid.reshape(n // across * height, across * width, 3).numpy())
    size = (picture.width * zoom, picture.height * zoom)
    return picture.resize(size, Image.Resampling.NEAREST)


def picture() -> Image.Image:
    """Eight classes, eight novel shapes, mixed and striped ones, in columns of four kinds."""
    pure, novel = (make(48, COLOUR, 7).images for make in (shapes, novel_shapes))
    parts = [
        torch.cat([pure[i::8] for i in range(8)]),
        mixed_shapes(48, COLOUR, 7).images.images,
        torch.cat([novel[i::8] for i in range(8)]),
        striped_shapes(48, COLOUR, 7).images,
    ]
    sheets = [sheet(own, 6) for own in parts]
    gap = 16
    whole = Image.new(
        "RGB", (sum(s.width for s in sheets) + gap * (len(sheets) - 1), sheets[0].height), "white"
    )
    left = 0
    for own in sheets:
        whole.paste(own, (left, 0))
        left += own.width + gap
    return whole


def page(record: dict[str, Any]) -> str:
    template = Template((HERE / "quality.md.jinja").read_text(), keep_trailing_newline=True)
    cases = sorted(
        (case for case in record["cases"] if case["repeats"]),
        key=lambda case: (WORLDS.index(case["data"]), case["each"] or math.inf),
    )
    pure = [case for case in cases if not case["data"].startswith("shapes-mixed")]
    with_mixed = [case for case in cases if "mixed" in case["repeats"][0]]
    promise = ["data", "calibration images", "calibrations"]
    return template.render(
        record=record,
        told=TOLD,
        familiar=familiar_table(cases),
        strange=strange_table(pure),
        striped=striped_table(cases),
        mixed=[(title(case), mixed_table(case)) for case in with_mixed if case["each"] == 100],
        probability=probability_table(with_mixed),
        refusals=table(
            [*promise, "promised at most, %", "refused on average, %"],
            promise_rows(pure, risk=False),
        ),
        risks=table(
            [*promise, "found a threshold", "broke the promise, %", "p"],
            promise_rows(pure, risk=True),
        ),
    )


def main() -> None:
    record = json.loads((DOCS / "quality.json").read_text())
    # Noise hardly packs without loss: as PNG it is four times as large.
    picture().save(DOCS / "pictures" / "shapes.webp", quality=85, method=6)
    (DOCS / "quality.md").write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    main()
