"""Stages are found in families of networks, whatever hangs below or around their layers."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests_support import SIDE, Told, stripes
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from nescio.familiarity import StageReader, find_stages, fit_familiarity, source_of
from nescio.network import NetworkSpec
from nescio.network.build import make_network

CLASSES = 3


class PaddedConv(nn.Conv2d):
    """As the packages of EfficientNet have it: a convolution with its padding below it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride)
        self.static_padding = nn.ZeroPad2d(kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.static_padding(x))


class LoraLinear(nn.Linear):
    """An adapter within the layer: its weights beside the layer's, a dropout below."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.lora_a = nn.Parameter(torch.rand(2, inputs))
        self.lora_b = nn.Parameter(torch.rand(outputs, 2))
        self.lora_dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.lora_dropout(x) @ self.lora_a.T @ self.lora_b.T


class HoldingLora(nn.Module):
    """An adapter whose layers hang below a layer with a weight of its own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(outputs, inputs))
        self.lora_a, self.lora_b = nn.Linear(inputs, 2), nn.Linear(2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight) + self.lora_b(self.lora_a(x))


class AroundLora(nn.Module):
    """An adapter around a layer that it keeps as it is."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base_layer = nn.Linear(inputs, outputs)
        self.lora_a, self.lora_b = nn.Linear(inputs, 2), nn.Linear(2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.lora_b(self.lora_a(x))


class Residual(nn.Module):
    """A block of a ResNet."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.relu = nn.ReLU()  # runs twice
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


class Next(nn.Module):
    """A block of a ConvNeXt: a frame with a weight of its own, the scale of its layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((width, 1, 1), 0.1))
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            nn.GroupNorm(1, width),
            nn.Conv2d(width, 2 * width, 1),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer_scale * self.block(x)


class Attention(nn.Module):
    """A block of a transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 8), nn.GELU(), nn.Linear(8, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln2(x))


class VisionTransformer(nn.Module):
    """A frame with weights of its own: the embedding of places, and the token of the class."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 4, SIDE // 2, SIDE // 2)
        self.token = nn.Parameter(torch.rand(1, 1, 4))
        self.places = nn.Parameter(torch.rand(1, 5, 4))
        self.blocks = nn.Sequential(Attention(4), Attention(4))
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.blocks(x)[:, 0])


def plain(
    conv: Callable[..., nn.Module] = nn.Conv2d, head: type[nn.Module] = nn.Linear
) -> nn.Module:
    return nn.Sequential(
        conv(1, 4, 3),
        nn.ReLU(),
        conv(4, 8, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        head(8, 4),
        nn.ReLU(),
        nn.Linear(4, CLASSES),
    )


def normed(norm: Callable[[nn.Module], nn.Module], conv: type[nn.Module] = nn.Conv2d) -> nn.Module:
    network = plain(conv)
    for place in (0, 2, 6, 8):
        norm(network[place])
    return network


def small(*blocks: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)
    )


PLAIN = ("image", "detail", "1", "4", "7", "output")

FAMILIES = {
    "plain": (plain, PLAIN),
    "padding below the layers": (lambda: plain(PaddedConv), PLAIN),
    "parametrised weight norm": (lambda: normed(parametrizations.weight_norm), PLAIN),
    "spectral norm": (lambda: normed(parametrizations.spectral_norm), PLAIN),
    "both": (lambda: normed(parametrizations.weight_norm, PaddedConv), PLAIN),
    "weight norm as it was": (lambda: normed(nn.utils.weight_norm), PLAIN),
    "the same with padding": (lambda: normed(nn.utils.weight_norm, PaddedConv), PLAIN),
    "adapter within": (lambda: plain(head=LoraLinear), PLAIN),
    "adapter below": (lambda: plain(head=HoldingLora), PLAIN),
    "adapter around": (
        lambda: plain(head=AroundLora),
        ("image", "detail", "1", "4", "6.base_layer", "7", "output"),
    ),
    "ResNet": (
        lambda: small(nn.BatchNorm2d(4), nn.ReLU(), Residual(4)),
        ("image", "detail", "2", "3.bn1", "4", "output"),
    ),
    "ConvNeXt": (
        lambda: small(Next(4)),
        ("image", "detail", "0", "1.block.1", "1.block.3", "2", "output"),
    ),
    "ViT": (
        VisionTransformer,
        (
            "image",
            "detail",
            "blocks.0.ln2",
            "blocks.0.mlp.1",
            "blocks.1.ln2",
            "blocks.1.mlp.2",
            "output",
        ),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_stages_of_families(family: str) -> None:
    make, expected = FAMILIES[family]
    torch.manual_seed(0)
    check(make().eval(), expected)


@pytest.mark.slow
def test_stages_of_a_compiled_network() -> None:
    expected = ("image", "detail", "_orig_mod.1", "_orig_mod.4", "_orig_mod.7", "output")
    check(torch.compile(plain(), backend="eager").eval(), expected)


def check(network: nn.Module, expected: tuple[str, ...]) -> None:
    """The stages are found, and their sources are read for each image and depend on it."""
    stages = find_stages(network, torch.rand(2, 1, SIDE, SIDE))
    assert stages == expected
    weights = dict(network.named_parameters())
    read = StageReader(network, weights, stages)(torch.rand(5, 1, SIDE, SIDE))
    assert set(read) == {source_of(stage) for stage in stages}
    assert all(len(features) == 5 for features in read.values())
    assert all(float(features.std(0).sum()) > 0 for features in read.values())


def test_a_wrapper_for_several_devices_is_taken_off() -> None:
    spec, network = NetworkSpec("own", (1, SIDE, SIDE), CLASSES), plain()
    assert make_network(nn.DataParallel(network), spec) is network
    assert make_network(lambda: nn.DataParallel(nn.DataParallel(network)), spec) is network
    assert make_network(network, spec) is network


def test_a_network_without_learned_stages_is_told() -> None:
    class Hidden(nn.Module):
        """Computes with weights that no layer runs with."""

        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.rand(8, SIDE * SIDE))
            self.second = nn.Parameter(torch.rand(CLASSES, 8))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(F.relu(F.linear(x.flatten(1), self.first)), self.second)

    for network, notes in ((Hidden(), 1), (plain(PaddedConv), 0)):
        told = Told()
        fit_familiarity(network.eval(), {}, stripes(60, 0), classes=CLASSES, reporter=told)
        said = [note for note in told.notes if "network's output alone" in note]
        assert len(said) == notes
