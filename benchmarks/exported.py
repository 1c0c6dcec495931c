"""How long one image and many take: ONNX Runtime with an exported file, and nescio.

    python benchmarks/exported.py MODEL FILE.onnx [--data mnist] [--threads 1,2]

In turns in one process, for each number of threads: the file under ONNX Runtime; the classifier's
predictor with all networks; and with as many as each image needs. Prints medians in milliseconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

import nescio
from nescio.export.model import start

SIZES = {1: 25, 256: 5}
"""Images at once, and how often each is measured."""


def ways(
    model: nescio.Classifier, content: bytes, threads: int
) -> dict[str, Callable[[torch.Tensor], object]]:
    """What is compared, by name; each takes images ``(n, K, H, W)`` uint8."""
    session, predictor = start(content, threads), model.predictor()
    (given,) = session.get_inputs()
    samples = nescio.classifier.SAMPLES

    def decide(images: torch.Tensor, *, adaptive: bool) -> None:
        for decisions in predictor.stream_decisions(
            images, rule=model.rule, samples=samples, adaptive=adaptive
        ):
            list(decisions)

    return {
        "ONNX Runtime": lambda images: session.run(None, {given.name: as_given(images)}),
        "nescio": lambda images: decide(images, adaptive=False),
        "as needed": lambda images: decide(images, adaptive=True),
    }


def as_given(images: torch.Tensor) -> np.ndarray:
    """As the file takes them: ``(n, H, W, K)``."""
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def milliseconds(call: Callable[[torch.Tensor], object], images: torch.Tensor) -> float:
    began = time.perf_counter()
    call(images)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--threads", default="1,2")
    given = parser.parse_args()
    model = nescio.load_model(given.model)
    test = nescio.load(given.data)
    images = model.prepare(test.test or test.train)[: max(SIZES)]
    print("| threads | images at once | ONNX Runtime | nescio | as needed |")
    print("|---:|---:|---:|---:|---:|")
    for threads in map(int, given.threads.split(",")):
        torch.set_num_threads(threads)
        compared = ways(model, given.file.read_bytes(), threads)
        for size, times in SIZES.items():
            taken: dict[str, list[float]] = {name: [] for name in compared}
            for turn in range(times + 1):
                start_at = turn if size == 1 else 0
                for name, call in compared.items():
                    took = milliseconds(call, images[start_at : start_at + size])
                    taken[name] += [took] if turn else []  # the first makes ready
            row = [f"{median(own):.1f}" for own in taken.values()]
            print(f"| {threads} | {size} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
