"""The networks that come with nescio: ordinary ``nn.Module``s that return logits.

They know nothing of Bayes or of Pyro. Input: ``(n, K, H, W)`` float32 in [0, 1].
Output: ``(n, C)`` logits, no softmax.
"""

from __future__ import annotations

import math
from itertools import chain

from torch import nn

LARGEST_SIDE = 64
"""Of the images, in pixels, for which the convolutions of :func:`cnn` were chosen."""


def mlp(shape: tuple[int, int, int], classes: int, hidden: int = 1024) -> nn.Module:
    """One hidden layer with ReLU: the article's 784-1024-10 on 28x28 grey images.

    Args:
        shape: ``(K, H, W)`` of one image.
        classes: ``C``, how many logits.
        hidden: Units of the hidden layer.
    """
    channels, height, width = shape
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * height * width, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


def cnn(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Six convolutions and one linear layer; more for images of more than 128 pixels a side.

    Many thin layers on small maps: for as much work they were ahead of few wide ones. The first
    convolution halves the image, or quarters one of more than 64 pixels a side, so that none of
    the others runs at full size. What is still too large is halved by more convolutions: the rest
    sees maps of at most 32 pixels a side, as those of an image of 64.

    Args:
        shape: ``(K, H, W)`` of one image.
        classes: ``C``, how many logits.
    """
    halvings = max(0, math.ceil(math.log2(max(shape[1:]) / LARGEST_SIDE)))
    size, stride = (7, 4) if halvings else (5, 2)
    return nn.Sequential(
        *_convolution(shape[0], 24, size=size, stride=stride),
        *chain.from_iterable(_convolution(24, 24, stride=2) for _ in range(halvings - 1)),
        *_convolution(24, 24),
        *_convolution(24, 24, pool=True),
        *_convolution(24, 64),
        *_convolution(64, 64),
        *_convolution(64, 64),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, classes),
    )


def _convolution(
    inputs: int, outputs: int, size: int = 3, stride: int = 1, *, pool: bool = False
) -> list[nn.Module]:
    """Pooling stands before normalisation and activation, where it has the same effect on less."""
    return [
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
        *([nn.MaxPool2d(2, ceil_mode=True)] if pool else []),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
