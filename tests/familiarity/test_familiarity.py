import pytest
import torch
from tests_support import SIDE, Told, small_network, stripes
from torch import Tensor, nn

import nescio
from nescio.data import ImageSet
from nescio.errors import ArchitectureError, UsageError
from nescio.familiarity import Familiarity, StageReader, find_stages, fit_familiarity, fitting
from nescio.familiarity.stages import reduce_features
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
    every = ("image", "2", "5", "9", "12", "15", "19", "output")
    assert find_stages(network, torch.zeros(2, 1, 28, 28), most=7) == every
    assert find_stages(network, torch.zeros(2, 1, 28, 28)) == ("image", "5", "12", "19", "output")


def test_stages_of_any_network() -> None:
    stages = find_stages(Deep().eval(), torch.zeros(2, 1, SIDE, SIDE))
    assert stages[0] == "image"
    assert stages[-1] == "output"
    assert "twice" not in stages
    assert len(stages) == 5
    assert find_stages(nn.Flatten(), torch.zeros(2, 1, 2, 2)) == ("image", "output")


def test_stages_can_be_named() -> None:
    network = Deep().eval()
    reader = StageReader(network, {}, ("stem", "output"))
    stem, output = reader(torch.rand(5, 1, SIDE, SIDE))
    assert stem.shape == (5, 4 * SIDE * SIDE)
    assert output.shape == (5, 3)
    with pytest.raises(UsageError, match="no stage 'nowhere'"):
        StageReader(network, {}, ("nowhere",))


def test_reading_takes_the_weights_given() -> None:
    network = small_network().eval()
    weights = {name: p.detach() + 1 for name, p in network.named_parameters()}
    x = torch.rand(3, 1, SIDE, SIDE)
    (output,) = StageReader(network, weights, ("output",))(x)
    assert torch.allclose(output, torch.func.functional_call(network, weights, (x,)))
    assert not torch.allclose(output, network(x))


@pytest.mark.parametrize(
    ("shape", "size"),
    [((7,), 7), ((3, 8, 8), 192), ((64, 28, 28), 1024), ((3, 224, 224), 972), ((2048, 7, 7), 1024),
     ((12, 30), 42), ((100_000,), 1024), ((4, 3, 3, 3), 108)],
)  # fmt: skip
def test_features_become_few(shape: tuple[int, ...], size: int) -> None:
    x = torch.rand(3, *shape)
    reduced = reduce_features(x)
    assert reduced.shape == (3, size)
    assert torch.equal(reduced, reduce_features(x))


def test_hashing_keeps_distances() -> None:
    x = torch.randn(40, 20_000, generator=torch.Generator().manual_seed(0))
    ratio = torch.pdist(reduce_features(x)) / torch.pdist(x)
    assert float(ratio.mean()) == pytest.approx(1, abs=0.02)
    assert float(ratio.std()) < 0.05


@pytest.fixture(scope="module")
def known(classifier: nescio.Classifier) -> tuple[Familiarity, StageReader]:
    assert classifier.familiarity is not None
    return classifier.familiarity, classifier.familiarity.reader(
        classifier.network, classifier.guide.loc
    )


def test_familiar_images_are_told_from_strange_ones(
    known: tuple[Familiarity, StageReader],
) -> None:
    familiarity, reader = known
    test = stripes(300, 9)
    evidence = familiarity.evidence(reader, test.images)
    assert evidence.shape == (300, 3, 3)
    own = own_evidence(evidence, test)
    blank = torch.full((1, 1, SIDE, SIDE), 128, dtype=torch.uint8)
    assert float(familiarity.evidence(reader, blank).sum(1).min()) > float(own.sum(1).max())


def own_evidence(evidence: Tensor, images: ImageSet) -> Tensor:
    """``(N, L)``, against the class that each image is of, from ``(N, L, C)``."""
    labels = images.require_labels()[:, None, None].expand(-1, evidence.shape[1], 1)
    return evidence.gather(2, labels)[..., 0]


def test_evidence_against_the_own_class_is_that_of_a_p_value(
    classifier: nescio.Classifier,
) -> None:
    # -log of a p-value is exponential: 1 nat on average, with a standard deviation of 1. Its mean
    # over m new images misses 1 by that of their sample, and by that of the n images that the
    # distribution was estimated from: with a variance of 1 / m + 1 / n (delta method). Five
    # standard errors are met by chance once in a million times. (Below crossfit.FEW training
    # images distances are cross-fitted, and biased by tenths of a nat.)
    train, test = stripes(3000, 7), stripes(1200, 9)
    means = classifier.guide.loc
    familiarity = fit_familiarity(classifier.network, means, train, classes=3)
    evidence = familiarity.evidence(familiarity.reader(classifier.network, means), test.images)
    bound = 5 * (1 / len(test) + 1 / len(train)) ** 0.5
    assert torch.allclose(own_evidence(evidence, test).mean(0), torch.ones(3), rtol=0, atol=bound)


def test_the_same_whatever_the_batch(known: tuple[Familiarity, StageReader]) -> None:
    familiarity, reader = known
    images = stripes(40, 9).images
    whole = familiarity.evidence(reader, images)
    parts = torch.cat([familiarity.evidence(reader, part) for part in images.split(7)])
    assert torch.allclose(whole, parts, rtol=1e-3, atol=0.02)  # neighbours a hair away
    assert familiarity.evidence(reader, images[:0]).shape == (0, 3, 3)


def test_packing_is_exact(known: tuple[Familiarity, StageReader]) -> None:
    familiarity, reader = known
    again = Familiarity.unpack(familiarity.tensors(), familiarity.names)
    images = stripes(40, 9).images
    assert torch.equal(again.evidence(reader, images), familiarity.evidence(reader, images))
    broken = {**familiarity.tensors(), "0/whitener": torch.zeros(3, 1)}
    with pytest.raises(ValueError, match="do not fit together"):
        Familiarity.unpack(broken, familiarity.names)
    with pytest.raises(KeyError):
        Familiarity.unpack({}, familiarity.names)


def test_features_that_are_no_numbers_are_never_familiar(
    known: tuple[Familiarity, StageReader],
) -> None:
    familiarity, _ = known

    def broken(x: Tensor) -> list[Tensor]:
        return [
            torch.full((len(x), len(s.density.axes.centre)), torch.nan) for s in familiarity.stages
        ]

    evidence = familiarity.evidence(broken, stripes(2, 0).images)  # type: ignore[arg-type]
    assert bool(torch.isinf(evidence).all())


class Silencer(nn.Module):
    """A stage that says the same of every image, before a head that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.dead = nn.Linear(SIDE * SIDE, 4)
        self.head = nn.Linear(SIDE * SIDE, 3)
        nn.init.zeros_(self.dead.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.head(x + 0 * self.dead(x).sum(1, keepdim=True))


def test_a_stage_without_variance_is_left_out_and_told() -> None:
    notes: list[str] = []

    class Listener(nescio.progress.Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    known = fit_familiarity(Silencer().eval(), {}, stripes(90, 0), classes=3, reporter=Listener())
    assert known.names == ("image", "output")
    assert notes == ["stage 'dead' is the same for every training image, so it is left out"]


def test_images_that_are_all_alike() -> None:
    same = ImageSet(
        "same",
        torch.zeros(9, 1, SIDE, SIDE, dtype=torch.uint8),
        torch.arange(9) % 3,
        ("a", "b", "c"),
    )
    with pytest.raises(ArchitectureError, match="alike at every stage"):
        fit_familiarity(small_network().eval(), {}, same, classes=3)


def test_many_classes_and_large_stages_stay_small() -> None:
    count, classes = 2000, 1000
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 12, 12), dtype=torch.uint8, generator=generator)
    data = ImageSet("m", images, torch.arange(count) % classes, tuple(map(str, range(classes))))
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 5000), nn.ReLU(), nn.Linear(5000, classes))
    known = fit_familiarity(network.eval(), {}, data, classes=classes)
    assert "planes through neighbours among 2,000" in known.describe()["image"]
    assert "one covariance for all classes" in known.describe()["2"]
    assert "neighbours among 2,000 training images" in known.describe()["output"]
    assert sum(t.numel() for t in known.tensors().values()) < 3_000_000
    evidence = known.evidence(known.reader(network, {}), images[:5])
    assert evidence.shape == (5, 3, classes)
    assert bool(torch.isfinite(evidence).all())


def test_few_images_go_through_the_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(nn.Flatten):
        images = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Counting.images += len(x)
            return super().forward(x)

    train = stripes(600, 0)
    network = nn.Sequential(Counting(), *small_network()[1:]).eval()
    told = Told()
    monkeypatch.setattr(fitting, "FEW", 0)  # of fewer all features are kept
    known = fit_familiarity(network, {}, train, classes=3, reporter=told)
    # Two more to find the stages, and two to see how large they are.
    assert Counting.images == len(train) + 4
    assert told.tasks == {"getting to know the training images": (600, 600)}
    # Features too large to keep are read anew for each purpose.
    monkeypatch.setattr(fitting, "MOST_KEPT", 1000)
    again = fit_familiarity(network, {}, train, classes=3, reporter=told)
    assert Counting.images == 4 * (len(train) + 2)
    assert told.tasks == {"getting to know the training images": (1800, 1800)}
    first, other = known.tensors(), again.tensors()
    assert all(torch.equal(first[name], other[name]) for name in other)
