"""The networks that come with nescio, from 28x28 grey to 512x512 colour."""

import pytest
import torch
from torch import nn

from nescio.network import cnn


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (1, 8, 64)])
def test_small_images_have_the_six_convolutions(shape: tuple[int, int, int]) -> None:
    network = cnn(shape, 10)
    found = [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.padding[0])
             for c in convolutions(network)]  # fmt: skip
    assert found == [(shape[0], 24, 5, 2, 2), (24, 24, 3, 1, 1), (24, 24, 3, 1, 1),
                     (24, 64, 3, 1, 1), (64, 64, 3, 1, 1), (64, 64, 3, 1, 1)]  # fmt: skip
    assert len(network) == 22
    assert network(torch.rand(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize(
    ("side", "more"), [(65, 0), (96, 0), (128, 0), (129, 1), (224, 1), (256, 1), (300, 2), (512, 2)]
)
def test_large_images_have_maps_as_small(side: int, more: int) -> None:
    network = cnn((3, side, side), 5)
    layers = convolutions(network)
    assert len(layers) == 6 + more
    sides: list[int] = []
    for layer in layers:
        layer.register_forward_hook(lambda _l, given, _o: sides.append(given[0].shape[-1]))
    assert network.eval()(torch.rand(1, 3, side, side)).shape == (1, 5)
    # The six of a small image, but for the first, see what they see of one.
    assert 16 <= sides[-5] <= 32
    assert max(sides[1:]) <= 128
