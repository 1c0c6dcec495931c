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
    """Three 3x3 convolutions and one linear layer, for any image size.

    A normalisation layer is left out on purpose: its statistics would couple
    the images of a batch under one sampled network.

    Args:
        shape: ``(K, H, W)`` of one image.
        classes: ``C``, how many logits.
    """
    channels = shape[0]
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, classes),
    )
