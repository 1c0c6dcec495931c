"""What is done to pixels is a layer of the network, and its constants are kept."""

import pytest
import torch
from torch import nn

from nescio.errors import UsageError
from nescio.inference import random_parameters
from nescio.network import Normalisation, cut_network, normalised, parse_normalisation
from nescio.network.normalise import IMAGENET

OWN = Normalisation((0.1, 0.2, 0.3), (1.0, 2.0, 4.0))


def test_each_channel_is_shifted_and_scaled() -> None:
    x = torch.tensor([0.5, 0.6, 0.7]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    found = normalised(nn.Identity(), OWN)(x)
    assert found.shape == x.shape
    torch.testing.assert_close(found[1, :, 3, 2], torch.tensor([0.4, 0.2, 0.1]))


def test_without_constants_a_network_stays_itself() -> None:
    network = nn.Linear(3, 2)
    assert normalised(network, None) is network


@pytest.mark.parametrize(
    ("text", "channels", "expected"),
    [
        ("none", 3, None),
        ("auto", 3, OWN),
        ("imagenet", 3, IMAGENET),
        ("0.5/0.25", 3, Normalisation((0.5,) * 3, (0.25,) * 3)),
        ("0.13/0.31", 1, Normalisation((0.13,), (0.31,))),
        ("0,0.5,1/1,2,3", 3, Normalisation((0.0, 0.5, 1.0), (1.0, 2.0, 3.0))),
        (str(OWN), 3, OWN),
    ],
)
def test_constants_by_name(text: str, channels: int, expected: Normalisation | None) -> None:
    assert parse_normalisation(text, channels, OWN) == expected


def test_auto_is_nothing_where_a_network_brings_nothing() -> None:
    assert parse_normalisation("auto", 3) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected auto, none, imagenet, or means"),
        ("imagenets", "expected auto"),
        ("0.5", "expected auto"),
        ("0.5/0", "expected auto"),
        ("0.5/-1", "expected auto"),
        ("nan/1", "expected auto"),
        ("1/2/3", "expected auto"),
        ("0.5,0.5/1,1", "for 2 channels, and the images have 1; give one number, or 1,"),
        ("imagenet", "for 3 channels, and the images have 1"),
        ("auto", "for 3 channels, and the images have 1"),
    ],
)
def test_constants_that_are_none(text: str, words: str) -> None:
    with pytest.raises(UsageError, match="--normalise") as caught:
        parse_normalisation(text, 1, OWN)
    assert words in str(caught.value)


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x).flatten(1))


class Skips(Body):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.body(x).flatten(1)
        return self.fc(features) + features[:, :2]


@pytest.mark.parametrize(
    ("network", "choice", "prefix", "features"),
    [
        (Body(), "head", "network.fc.", (2, 16)),
        (Body(), "all", "", (2, 3, 4, 4)),
        (Skips(), "head", "", (2, 3, 4, 4)),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)), "head", "network.",
         (2, 16)),
    ],
)  # fmt: skip
def test_the_cut_is_made_within_what_is_normalised(
    network: nn.Module, choice: str, prefix: str, features: tuple[int, ...]
) -> None:
    whole = normalised(network, OWN).eval()
    x = torch.rand(2, 3, 4, 4)
    names = list(random_parameters(whole, choice))
    cut = cut_network(whole, names, x)
    assert cut.prefix == prefix
    assert cut.features(x).shape == features
    torch.testing.assert_close(cut.head(cut.features(x)), whole(x))
    head = cut.named_head()
    assert set(names) <= {name for name, _ in head.named_parameters()}
    torch.testing.assert_close(head(cut.features(x)), whole(x))
