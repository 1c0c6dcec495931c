"""What is kept as the shared part runs is what a reader of the same network would read."""

import pytest
import torch
from torch import Tensor, nn

from nescio.data import to_float
from nescio.familiarity import StageReader, find_stages, layers_of, reduce_features
from nescio.inference import MeanField, random_parameters
from nescio.network import cut_network
from nescio.prediction import SampledNetworks
from nescio.prediction.taps import Taps

SIDE = 6


def images(count: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator)


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.ReLU(),
            nn.Conv2d(4, 5, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(20, 8),
            nn.ReLU(),
            nn.Linear(8, 3),
        ).eval()


def first(network: nn.Module, count: int) -> nn.Module:
    """A part that holds the very same layers."""
    return nn.Sequential(*list(network.children())[:count])


def test_what_is_kept_is_what_a_reader_reads(network: nn.Module) -> None:
    x = to_float(images())
    layers = layers_of(find_stages(network, x))
    assert layers == ("1", "3", "6")
    trunk = first(network, 7)
    taps = Taps.on(network, trunk, layers, reduce_features)
    assert taps is not None
    with torch.no_grad():
        trunk(x)
    kept = taps.take()
    read = StageReader(network, {}, layers)(x)
    assert list(kept) == list(read) == list(layers)
    for name in layers:
        torch.testing.assert_close(kept[name], read[name])


def test_what_is_taken_is_kept_no_more(network: nn.Module) -> None:
    taps = Taps(network, ("1",), reduce_features)
    assert taps.take() == {}
    with torch.no_grad():
        network(to_float(images(2)))
        network(to_float(images(5)))
    # Of the last run alone.
    assert taps.take()["1"].shape == (5, 4)
    assert taps.take() == {}


def test_what_is_kept_is_as_it_was_asked_for(network: nn.Module) -> None:
    taps = Taps(network, ("3",), lambda output: output.flatten(1)[:, :2])
    x = to_float(images())
    with torch.no_grad():
        network(x)
        expected = first(network, 4)(x).flatten(1)[:, :2]
    torch.testing.assert_close(taps.take()["3"], expected)


@pytest.mark.parametrize(
    ("count", "layers", "tapped"),
    [
        (4, ("1", "3"), True),
        (4, ("1",), True),
        (4, ("1", "6"), False),  # one of them runs behind the part
        (4, ("6",), False),
        (7, ("1", "3", "6"), True),
        (7, ("1", "7"), False),
        (7, ("1", "nowhere"), False),
        (0, ("1",), False),
    ],
)
def test_layers_outside_the_part_are_not_tapped(
    network: nn.Module, count: int, layers: tuple[str, ...], tapped: bool
) -> None:
    taps = Taps.on(network, first(network, count), layers, reduce_features)
    assert (taps is not None) == tapped
    # Where nothing is kept nothing is hooked, either.
    hooked = {name for name, module in network.named_modules() if module._forward_hooks}
    assert hooked == (set(layers) if tapped else set())


def test_without_a_part_nothing_is_tapped(network: nn.Module) -> None:
    assert Taps.on(network, None, ("1",), reduce_features) is None


def test_layers_of_a_copy_are_not_those_of_the_network(network: nn.Module) -> None:
    copy = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    assert Taps.on(network, copy, ("1",), reduce_features) is None


def guide_of(network: nn.Module, choice: str) -> MeanField:
    return MeanField.around(
        {n: p.detach() for n, p in random_parameters(network, choice).items()}, 0.5
    )


def tapped(
    network: nn.Module, guide: MeanField, layers: tuple[str, ...], batch_size: int = 512
) -> SampledNetworks:
    return SampledNetworks.prepare(
        network,
        guide,
        images(),
        classes=3,
        seed=1,
        batch_size=batch_size,
        layers=layers,
        reduce=reduce_features,
    )


@pytest.mark.parametrize("batch_size", [512, 3])
def test_sampled_networks_read_the_layers_of_their_trunk(
    network: nn.Module, batch_size: int
) -> None:
    guide, layers = guide_of(network, "head"), ("1", "3", "6")
    assert cut_network(network, guide.names, to_float(images())).trunk is not None
    networks = tapped(network, guide, layers, batch_size)
    read = StageReader(network, guide.center(), layers)(to_float(images()))
    for _ in range(2):
        passed = networks.run_trunk(images())
        assert passed.read is not None
        assert passed.features.shape == (7, 8)
        assert set(passed.read) == set(layers)
        for name in layers:
            torch.testing.assert_close(passed.read[name], read[name])
    # Hooks are on module objects of its own.
    assert not any(module._forward_hooks for module in network.modules())


def test_sampled_networks_read_nothing_where_a_layer_is_random(network: nn.Module) -> None:
    guide = guide_of(network, "5.*,7.*")
    networks = tapped(network, guide, ("1", "6"))
    assert networks.run_trunk(images()).read is None
