"""The networks that come with nescio: ordinary ``nn.Module``s that return logits.

They know nothing of Bayes or of Pyro. Input: ``(n, K, H, W)`` float32 in [0, 1].
Output: ``(n, C)`` logits, no softmax.
"""

from __future__ import annotations

from torch import nn


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
    """Three convolutions and one linear layer, for any image size.

    Pooling stands before normalisation and activation, where it has the same effect on less.

    Args:
        shape: ``(K, H, W)`` of one image.
        classes: ``C``, how many logits.
    """
    return nn.Sequential(
        nn.Conv2d(shape[0], 32, 5, padding=2, bias=False),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 5, padding=2, bias=False),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Conv2d(64, 96, 3, padding=1, bias=False),
        nn.BatchNorm2d(96),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(96 * 4 * 4, classes),
    )
