import pytest
import torch
from tests_support import SIDE, small_network
from torch import Tensor, nn

from nescio.errors import UsageError
from nescio.familiarity import StageReader, Wavelets, find_stages, layers_of, source_of
from nescio.familiarity.stages import (
    MOST_FEATURES,
    hashed,
    hashing,
    pool_features,
    reduce_features,
)
from nescio.network import NetworkSpec, build


class Deep(nn.Module):
    """Convolutions in blocks, one of which runs twice, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(9))
        self.flatten = nn.Flatten()
        self.head = nn.Linear(4 * SIDE * SIDE, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(self.stem(x)))
        for layer in self.body:
            x = layer(x).relu()
        return self.head(self.flatten(x))


def test_stages_of_a_chain() -> None:
    network = build(NetworkSpec("cnn", (1, 28, 28), 10)).eval()
    # Each convolution with what follows it; the flattening says nothing new.
    every = ("image", "detail", "2", "5", "9", "12", "15", "19", "output")
    assert find_stages(network, torch.zeros(2, 1, 28, 28), most=7) == every
    few = ("image", "detail", "2", "9", "12", "19", "output")
    assert find_stages(network, torch.zeros(2, 1, 28, 28)) == few


def test_stages_of_any_network() -> None:
    stages = find_stages(Deep().eval(), torch.zeros(2, 1, SIDE, SIDE))
    # What runs twice would be read once of the two; the head is the output.
    assert stages == ("image", "detail", "body.0", "body.3", "body.5", "body.8", "output")


@pytest.mark.parametrize(
    "network",
    [nn.Flatten(), nn.Sequential(nn.Flatten(), nn.Linear(4, 3))],
    ids=["no weights", "one layer"],
)
def test_stages_where_no_layer_is_learned_but_the_last(network: nn.Module) -> None:
    assert find_stages(network, torch.zeros(2, 1, 2, 2)) == ("image", "detail", "output")


def test_what_stages_are_read_from() -> None:
    stages = ("image", "detail", "body.3", "output")
    assert [source_of(stage) for stage in stages] == ["image", "image", "body.3", "output"]
    assert layers_of(stages) == ("body.3",)


def test_stages_can_be_named() -> None:
    network = Deep().eval()
    x = torch.rand(5, 1, SIDE, SIDE)
    read = StageReader(network, {}, ("stem", "output"))(x)
    assert set(read) == {"stem", "output"}
    assert torch.allclose(read["stem"], network.stem(x).mean((2, 3)), atol=1e-5)
    assert torch.allclose(read["output"], network(x), atol=1e-5)
    with pytest.raises(UsageError, match="no stage 'nowhere'"):
        StageReader(network, {}, ("nowhere",))


@pytest.mark.parametrize("stages", [("image",), ("detail",), ("image", "detail")])
def test_both_stages_of_the_image_are_read_from_one_source(stages: tuple[str, ...]) -> None:
    x = torch.rand(5, 1, SIDE, SIDE)
    read = StageReader(small_network().eval(), {}, stages)(x)
    assert set(read) == {"image"}
    assert torch.equal(read["image"], Wavelets(torch.device("cpu"))(x))


def test_reading_takes_the_weights_given() -> None:
    network = small_network().eval()
    weights = {name: p.detach() + 1 for name, p in network.named_parameters()}
    x = torch.rand(3, 1, SIDE, SIDE)
    read = StageReader(network, weights, ("output",))(x)["output"]
    assert torch.allclose(read, torch.func.functional_call(network, weights, (x,)))
    assert not torch.allclose(read, network(x))


def test_readers_do_not_meet() -> None:
    network = small_network().eval()
    x = torch.rand(3, 1, SIDE, SIDE)
    first, second = (StageReader(network, {}, ("2", "output")) for _ in range(2))
    before = first(x)
    kept = {name: own.clone() for name, own in before.items()}
    second(2 * x)
    first(3 * x)
    network(x)
    assert all(torch.equal(before[name], kept[name]) for name in kept)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_reader_gives_only_what_its_own_stages_are_read_from() -> None:
    read = StageReader(small_network().eval(), {}, ("detail", "2"))(torch.rand(4, 1, SIDE, SIDE))
    assert set(read) == {"image", "2"}
    assert read["2"].shape == (4, 8)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((7,), 7), ((3, 8, 8), 3), ((64, 28, 28), 64), ((3, 224, 224), 3), ((2048, 7, 7), 2048),
     ((4096, 2, 2), 2048), ((12, 30), 42), ((2000, 100), 2048), ((100_000,), 2048),
     ((4, 3, 3, 3), 4)],
)  # fmt: skip
def test_features_become_few(shape: tuple[int, ...], size: int) -> None:
    x = torch.rand(3, *shape)
    reduced = reduce_features(x)
    assert reduced.shape == (3, size)
    assert reduced.dtype == torch.float32
    assert torch.equal(reduced, reduce_features(x))


def test_maps_are_averaged_over_all_places() -> None:
    x = torch.rand(3, 5, 4, 6)
    assert torch.allclose(reduce_features(x), x.mean((2, 3)))
    volumes = torch.rand(3, 5, 2, 4, 6)
    assert torch.allclose(reduce_features(volumes), volumes.mean((2, 3, 4)))


def test_tokens_are_averaged_over_either_axis() -> None:
    x = torch.rand(3, 5, 4)
    assert torch.allclose(reduce_features(x), torch.cat([x.mean(1), x.mean(2)], 1))


def test_averages_of_few_digits_are_taken_in_all() -> None:
    # The sum of these is more than a float of 16 bits can hold.
    half = torch.full((2, 3, 8, 8), 60_000.0, dtype=torch.float16)
    assert torch.equal(pool_features(half), half[:, :, 0, 0].float())
    # And the mean of these lies between two that are next to one another.
    for dtype in (torch.float16, torch.bfloat16):
        low = torch.ones(1, 2, 4, 4)
        low[:, :, 0, 0] += torch.finfo(dtype).eps
        expected = low.mean((2, 3))
        assert torch.equal(pool_features(low.to(dtype)), expected)
        assert not torch.equal(expected.to(dtype).float(), expected)


def test_hashing_by_hand() -> None:
    assert hashing(MOST_FEATURES) is None
    by = hashing(300, 10)
    assert by is not None
    places, signs = by
    assert set(signs.tolist()) == {-1, 1}
    assert set(places.tolist()) == set(range(10))
    x = torch.randn(4, 300, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(4, 10, dtype=torch.float64)
    for i in range(300):
        expected[:, places[i]] += signs[i] * x[:, i].double()
    assert torch.allclose(hashed(x, by, 10).double(), expected, atol=1e-4)
    assert torch.equal(hashed(x, None), x)


def test_hashing_keeps_distances() -> None:
    x = torch.randn(40, 20_000, generator=torch.Generator().manual_seed(0))
    ratio = torch.pdist(reduce_features(x)) / torch.pdist(x)
    assert float(ratio.mean()) == pytest.approx(1, abs=0.02)
    assert float(ratio.std()) < 0.05
