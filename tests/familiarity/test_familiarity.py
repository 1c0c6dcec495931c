import math

import pytest
import torch
from tests_support import CLASSES, SEED, SIDE, Told, small_network, stripes
from torch import Tensor, nn

from nescio.data import ImageSet
from nescio.errors import ArchitectureError
from nescio.familiarity import (
    MOST_EVIDENCE,
    Familiarity,
    Stage,
    StageReader,
    fit_familiarity,
    fitting,
)
from nescio.familiarity.familiarity import BATCH_SIZE
from nescio.familiarity.shared import SharedGaussian
from nescio.familiarity.subspace import unit
from nescio.familiarity.tail import fit_tail


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Never trained: what a frozen network is, which knows no image too well."""
    return small_network().eval()


@pytest.fixture(scope="module")
def familiarity(network: nn.Module) -> Familiarity:
    return fit_familiarity(network, {}, stripes(600, 0), classes=3)


@pytest.fixture(scope="module")
def reader(network: nn.Module, familiarity: Familiarity) -> StageReader:
    return familiarity.reader(network, {})


def weights_of(familiarity: Familiarity) -> Tensor:
    """``(L,)``, the logarithms."""
    return torch.tensor([stage.log_weight for stage in familiarity.stages])


def own_evidence(evidence: Tensor, images: ImageSet) -> Tensor:
    """``(N, L)``, against the class that each image is of, from ``(N, L, C)``."""
    labels = images.require_labels()[:, None, None].expand(-1, evidence.shape[1], 1)
    return evidence.gather(2, labels)[..., 0]


def test_evidence_is_for_each_image_stage_and_class(
    familiarity: Familiarity, reader: StageReader
) -> None:
    assert familiarity.names == ("image", "detail", "2", "output")
    assert familiarity.classes == 3
    evidence = familiarity.evidence(reader, stripes(300, 9).images)
    assert evidence.shape == (300, 4, 3)
    assert evidence.dtype == torch.float32
    assert bool(torch.isfinite(evidence).all())
    # No stage counts for less than its weight takes.
    assert bool((evidence >= weights_of(familiarity)[None, :, None] - 1e-5).all())
    assert float(weights_of(familiarity).exp().sum()) == pytest.approx(1)


def test_familiar_images_are_told_from_strange_ones(
    familiarity: Familiarity, reader: StageReader
) -> None:
    test = stripes(300, 9)
    own = own_evidence(familiarity.evidence(reader, test.images), test).logsumexp(1)
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randint(256, (50, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    blank = torch.full((1, 1, SIDE, SIDE), 128, dtype=torch.uint8)
    strange = familiarity.evidence(reader, torch.cat([noise, blank])).logsumexp(1)
    assert float(strange.min()) > float(own.max())


def test_an_image_is_most_like_its_own_class(familiarity: Familiarity, reader: StageReader) -> None:
    test = stripes(300, 9)
    nearest = familiarity.evidence(reader, test.images).logsumexp(1).argmin(1)
    assert float((nearest == test.require_labels()).float().mean()) > 0.99


def test_evidence_against_the_own_class_is_that_of_a_p_value(network: nn.Module) -> None:
    # -log of a p-value is exponential: 1 nat on average, with a standard deviation of 1. Its mean
    # over m new images misses 1 by that of their sample, and by that of the n images that the
    # distribution was estimated from: with a variance of 1 / m + 1 / n (delta method). Five
    # standard errors are met by chance once in a million times.
    train, test = stripes(3000, 7), stripes(1200, 9)
    familiarity = fit_familiarity(network, {}, train, classes=3)
    evidence = familiarity.evidence(familiarity.reader(network, {}), test.images)
    found = own_evidence(evidence, test) - weights_of(familiarity)
    bound = 5 * (1 / len(test) + 1 / len(train)) ** 0.5
    assert torch.allclose(found.mean(0), torch.ones(4), rtol=0, atol=bound)


def test_evidence_is_by_hand_what_the_stages_say(
    familiarity: Familiarity, reader: StageReader
) -> None:
    images = stripes(20, 9).images
    read = reader(images.float() / 255)
    found = familiarity.evidence(reader, images)
    for place, (stage, source) in enumerate(
        zip(familiarity.stages, ("image", "image", "2", "output"), strict=True)
    ):
        distances = stage.density.distances(unit(read[source]))
        expected = stage.tail(distances) + stage.log_weight
        assert torch.allclose(found[:, place], expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(familiarity.judge(read), found)


def test_the_length_of_features_tells_nothing(
    familiarity: Familiarity, reader: StageReader
) -> None:
    read = reader(stripes(20, 9).images.float() / 255)
    longer = {name: 7 * own for name, own in read.items()}
    assert torch.allclose(familiarity.judge(longer), familiarity.judge(read), rtol=1e-3, atol=1e-3)


def test_the_same_whatever_the_batch(familiarity: Familiarity, reader: StageReader) -> None:
    images = stripes(BATCH_SIZE + 40, 9).images
    whole = familiarity.evidence(reader, images)
    parts = torch.cat([familiarity.evidence(reader, part) for part in images.split(37)])
    assert torch.allclose(whole, parts, rtol=1e-3, atol=1e-3)
    assert familiarity.evidence(reader, images[:0]).shape == (0, 4, 3)


def test_packing_is_exact(familiarity: Familiarity, reader: StageReader) -> None:
    again = Familiarity.unpack(familiarity.tensors(), familiarity.names)
    assert [stage.log_weight for stage in again.stages] == [
        stage.log_weight for stage in familiarity.stages
    ]
    assert again.describe() == familiarity.describe()
    images = stripes(40, 9).images
    evidence = familiarity.evidence(reader, images)
    assert torch.equal(again.evidence(reader, images), evidence)
    moved = familiarity.to(torch.device("cpu"))
    assert torch.equal(moved.evidence(reader, images), evidence)


@pytest.mark.parametrize(
    "name", ["0/whiteners", "0/owners", "1/axes", "2/variances", "1/tail_points"]
)
def test_tensors_that_do_not_fit_together(familiarity: Familiarity, name: str) -> None:
    broken = {**familiarity.tensors(), name: torch.zeros(7, 5, 1)}
    with pytest.raises(ValueError, match="do not fit together"):
        Familiarity.unpack(broken, familiarity.names)


@pytest.mark.parametrize("name", ["0/whiteners", "1/axes", "2/log_weight", "0/tail_evidence"])
def test_tensors_that_are_missing(familiarity: Familiarity, name: str) -> None:
    missing = {own: value for own, value in familiarity.tensors().items() if own != name}
    with pytest.raises(KeyError):
        Familiarity.unpack(missing, familiarity.names)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_no_numbers_are_never_familiar(
    familiarity: Familiarity, reader: StageReader, value: float
) -> None:
    read = reader(stripes(4, 9).images.float() / 255)
    broken = {name: own.clone() for name, own in read.items()}
    broken["2"][1, 3] = value
    broken["image"][2, 100] = value
    evidence = familiarity.judge(broken)
    assert bool((evidence[1, 2] == MOST_EVIDENCE).all())
    assert bool((evidence[2, :2] == MOST_EVIDENCE).all())
    assert bool((evidence[1:3].logsumexp(1) >= MOST_EVIDENCE).all())
    # The others are as they were.
    assert torch.equal(evidence[::3], familiarity.judge(read)[::3])
    assert bool(torch.isfinite(evidence).all())


def test_evidence_has_a_most() -> None:
    x = unit(torch.randn(50, 4, generator=torch.Generator().manual_seed(0)))
    labels = torch.zeros(50, dtype=torch.int64)
    tail = fit_tail(torch.full((50,), 1e-30), labels, 1)
    # So sharp that anything else is farther than any number tells.
    density = SharedGaussian.fit(x, labels, 1)
    far = Stage("layer", density, fit_tail(torch.ones(50), labels, 1), log_weight=2 * MOST_EVIDENCE)
    sharp = Stage("layer", density, tail)
    for stage in (far, sharp):
        evidence = Familiarity((stage,)).judge({"layer": torch.randn(3, 4)})
        assert float(evidence.max()) <= MOST_EVIDENCE
    assert bool((Familiarity((far,)).judge({"layer": x}) == MOST_EVIDENCE).all())


class Silencer(nn.Module):
    """A stage that says the same of every image, before one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.dead = nn.Linear(SIDE * SIDE, 4)
        self.live = nn.Linear(SIDE * SIDE, 5)
        self.head = nn.Linear(5, 3)
        nn.init.zeros_(self.dead.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.head(self.live(x + 0 * self.dead(x).sum(1, keepdim=True)))


def test_a_stage_without_variance_is_left_out_and_told() -> None:
    told = Told()
    known = fit_familiarity(Silencer().eval(), {}, stripes(90, 0), classes=3, reporter=told)
    assert known.names == ("image", "detail", "live", "output")
    assert told.notes == ["stage 'dead' is the same for every training image, so it is left out"]
    assert float(weights_of(known).exp().sum()) == pytest.approx(1)


class Featureless(nn.Module):
    """Gives what is no number where it sees enough light."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIDE * SIDE, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x.flatten(1) / (x.amax((1, 2, 3)) < 0.7)[:, None]))


def test_features_of_training_images_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ArchitectureError, match="NaN or infinite"):
        fit_familiarity(Featureless().eval(), {}, stripes(90, 0), classes=3)


def test_images_that_are_all_alike_are_refused(network: nn.Module) -> None:
    pixels = torch.full((9, 1, SIDE, SIDE), 7, dtype=torch.uint8)
    same = ImageSet("same", pixels, torch.arange(9) % 3, CLASSES)
    with pytest.raises(ArchitectureError, match="alike at every stage"):
        fit_familiarity(network, {}, same, classes=3)


def test_stages_can_be_named(network: nn.Module) -> None:
    known = fit_familiarity(
        network, {}, stripes(90, 0), classes=3, stages=("detail", "1", "output")
    )
    assert known.names == ("detail", "1", "output")
    assert known.sees_image
    alone = fit_familiarity(network, {}, stripes(90, 0), classes=3, stages=("2",))
    assert alone.names == ("2",)
    assert not alone.sees_image
    assert alone.stages[0].log_weight == 0


def test_the_weights_given_are_those_that_are_read(network: nn.Module) -> None:
    train, images = stripes(90, 0), stripes(30, 9).images
    weights = {name: -p.detach() for name, p in network.named_parameters()}
    known = fit_familiarity(network, weights, train, classes=3)
    turned = small_network().eval()
    turned.load_state_dict(weights)
    other = fit_familiarity(turned, {}, train, classes=3)
    expected = other.evidence(other.reader(turned, {}), images)
    found = known.evidence(known.reader(network, weights), images)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_many_classes_and_large_stages_stay_small() -> None:
    count, classes, wide = 900, 300, 300
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 12, 12), dtype=torch.uint8, generator=generator)
    data = ImageSet("m", images, torch.arange(count) % classes, tuple(map(str, range(classes))))
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(144, wide), nn.ReLU(), nn.Linear(wide, 20), nn.Linear(20, classes)
    )
    known = fit_familiarity(network.eval(), {}, data, classes=classes)
    described = known.describe()
    assert list(described) == ["image", "detail", "2", "3", "output"]
    axes = fitting.IMAGE_AXES
    assert described["image"] == f"{axes} of 208 axes, one covariance for all classes"
    assert described["2"] == f"{fitting.MOST_AXES} of {wide} axes, one covariance for all classes"
    # The means of each class are most of it; a matrix for each would be more on the image alone.
    most = classes * (axes + 208 + wide + 20 + classes)
    numbers = sum(t.numel() for t in known.tensors().values())
    assert most < numbers < 1.7 * most < classes * axes**2
    evidence = known.evidence(known.reader(network, {}), images[:5])
    assert evidence.shape == (5, 5, classes)
    assert bool(torch.isfinite(evidence).all())


class Counting(nn.Flatten):
    images = 0

    def forward(self, x: Tensor) -> Tensor:
        Counting.images += len(x)
        return super().forward(x)


def test_images_go_through_the_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "images", 0)
    train = stripes(600, 0)
    network = nn.Sequential(Counting(), *small_network()[1:]).eval()
    told = Told()
    fit_familiarity(network, {}, train, classes=3, reporter=told)
    # Two more to find the stages, and two to see how large they are.
    assert Counting.images == len(train) + 4
    assert told.tasks == {"fitting the familiarity model": (600, 600)}
    assert told.notes == []
    # And those held apart as often.
    monkeypatch.setattr(Counting, "images", 0)
    fit_familiarity(network, {}, train, stripes(30, 1), classes=3, reporter=told)
    assert Counting.images == len(train) + 30 + 4


@pytest.mark.parametrize(
    ("name", "most", "read"),
    [("MOST_IMAGES", 200, 200), ("MOST_BYTES", 100 * 4 * (112 + 8 + 3), 100)],
)
def test_of_too_many_images_some_are_read(
    monkeypatch: pytest.MonkeyPatch, network: nn.Module, name: str, most: int, read: int
) -> None:
    monkeypatch.setattr(fitting, name, most)
    told = Told()
    known = fit_familiarity(network, {}, stripes(600, 0), classes=3, reporter=told)
    (done,) = told.tasks.values()
    # Of each class as many, rounded up.
    assert done[0] == done[1] == pytest.approx(read, abs=3)
    assert known.stages[2].density.counts.tolist() == [done[0] / 3] * 3


def test_of_each_class_its_share_and_at_least_one() -> None:
    labels = torch.tensor([0, 1, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0])
    assert fitting.rank_in_class(labels).tolist() == [0, 0, 1, 2, 0, 3, 1, 4, 5, 6, 7, 8]
    for most, expected in ((12, 12), (100, 12), (6, 7), (4, 5), (1, 3)):
        some = fitting._some(labels, most)
        assert len(some) == expected
        assert labels[some].unique().tolist() == [0, 1, 2]
        assert bool((some.diff() > 0).all())


def test_images_held_apart_move_the_tails_alone(network: nn.Module) -> None:
    train, apart = stripes(600, 0), stripes(40, 1)
    plain = fit_familiarity(network, {}, train, classes=3)
    moved = fit_familiarity(network, {}, train, apart, classes=3)
    first, other = plain.tensors(), moved.tensors()
    same = {name for name in first if torch.equal(first[name], other[name])}
    assert set(first) - same == {f"{n}/tail_{w}" for n in range(4) for w in ("centres", "spreads")}
    # Half of them are less familiar than half a chance, at every stage.
    evidence = own_evidence(moved.evidence(moved.reader(network, {}), apart.images), apart)
    middle = (evidence - weights_of(moved)).quantile(0.5, 0)
    assert torch.allclose(middle, torch.full((4,), math.log(2)), atol=0.15)
