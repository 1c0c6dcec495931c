"""Pieces of the graph against what they follow: searching, preprocessing, familiarity."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx_support import Piece
from torch import Tensor

from nescio.data import Preprocessing, adapt
from nescio.data.images import FITS, Fit
from nescio.data.preprocess import _cut
from nescio.export.familiar import evidence
from nescio.export.images import pixels
from nescio.export.networks import _gathers
from nescio.export.search import count_below
from nescio.familiarity import MOST_EVIDENCE, Stage
from nescio.familiarity.perclass import ClassGaussians
from nescio.familiarity.shared import SharedGaussian
from nescio.familiarity.stages import hashed, hashing
from nescio.familiarity.subspace import unit
from nescio.familiarity.tail import fit_tail

NUMBERS = st.floats(-4, 4, width=16) | st.sampled_from([-torch.inf, torch.inf, 0.0, 1.0])


@settings(max_examples=8, deadline=None)
@given(
    rising=st.lists(NUMBERS, min_size=1, max_size=20).map(sorted),
    values=st.lists(NUMBERS, min_size=1, max_size=20),
    equal=st.booleans(),
)
def test_counting_is_searching_sorted_numbers(
    rising: list[float], values: list[float], equal: bool
) -> None:
    numbers, asked = torch.tensor(rising), torch.tensor(values)
    piece = Piece(
        lambda graph, x: {"count": (count_below(graph, numbers, x, equal=equal), "int64")},
        x=(1, "float32"),
    )
    assert torch.equal(piece(x=asked)["count"], torch.searchsorted(numbers, asked, right=equal))


@pytest.fixture(scope="module")
def resized() -> dict[tuple[int, Fit], Piece]:
    return {
        (channels, fit): Piece(
            lambda graph, x, c=channels, f=fit: {
                "x": (pixels(graph, x, Preprocessing(c, 14, 11, f)), "float32")
            },
            images=(4, "uint8"),
        )
        for channels in (1, 3)
        for fit in FITS
    }


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(2, 70), st.integers(2, 70)),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(tuple(FITS)),
    seed=st.integers(0, 2**31),
)
def test_images_of_any_size_become_what_adapt_makes_of_them(
    resized: dict[tuple[int, Fit], Piece],
    size: tuple[int, int],
    channels: int,
    fit: Fit,
    seed: int,
) -> None:
    height, width = size
    scale = min(14 / height, 11 / width)
    scaled = (round(height * scale), round(width * scale)) if fit == "pad" else (14, 11)
    assume(min(scaled) > 1)
    generator = torch.Generator().manual_seed(seed)
    shape = (2, channels, height, width)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    found = resized[channels, fit](images=images.permute(0, 2, 3, 1).contiguous())["x"] * 255
    expected = adapt(images, Preprocessing(channels, 14, 11, fit)).float()
    # Where the exact value is halfway between two levels, rounding may go either way.
    whole = _cut(images, 14 / 11) if fit == "crop" else images
    exact = F.interpolate(whole.double(), size=scaled, mode="bilinear", antialias=True)
    halfway = ((exact - exact.floor()) - 0.5).abs() < 1e-3
    top, left = (14 - scaled[0]) // 2, (11 - scaled[1]) // 2
    tie = torch.zeros(expected.shape, dtype=torch.bool)
    tie[:, :, top : top + scaled[0], left : left + scaled[1]] = halfway
    assert float((found - expected).abs().max()) < 1.01
    assert torch.allclose(found[~tie], expected[~tie], rtol=0, atol=1e-3)


@pytest.mark.parametrize("fit", FITS)
def test_images_of_the_own_size_stay_as_they_are(
    resized: dict[tuple[int, Fit], Piece], fit: Fit
) -> None:
    images = torch.arange(14 * 11, dtype=torch.uint8).view(1, 1, 14, 11)
    found = resized[1, fit](images=images.permute(0, 2, 3, 1).contiguous())["x"]
    assert torch.equal(found, images.float() / 255)


def features(count: int, width: int, classes: int) -> tuple[Tensor, Tensor]:
    """Of classes whose sizes and spreads differ."""
    generator = torch.Generator().manual_seed(width)
    labels = torch.randint(classes, (count,), generator=generator)
    labels[labels == 1] = torch.where(labels[labels == 1] >= 0, 0, 1)
    labels[:7] = 1  # a class with few images
    places = torch.randn(classes, width, generator=generator) * 2
    spread = 0.3 + torch.arange(classes)[labels, None] / classes
    return places[labels] + spread * torch.randn(count, width, generator=generator), labels


def stage(kind: str, found: Tensor, labels: Tensor, classes: int) -> Stage:
    """Of unit length, as everywhere; the classes of ``clusters`` look several ways."""
    axes = torch.eye(found.shape[1])[:, 2:]
    density: ClassGaussians | SharedGaussian
    if kind in ("clusters", "one matrix"):
        most = 2**20 if kind == "clusters" else 0
        density = ClassGaussians.fit(found, labels, classes, axes=axes, most_numbers=most)
        assert (len(density.owners) > classes) == (kind == "clusters")
    else:
        density = SharedGaussian.fit(found, labels, classes)
    tail = fit_tail(density.left_out(found, labels), labels, classes)
    if isinstance(density, SharedGaussian) and kind == "some axes":
        density = density.shortened(5)
    return Stage(kind, density, tail, -0.5)


def test_evidence_is_that_of_the_stages() -> None:
    classes = 4
    found, labels = features(3000, 12, classes)
    kinds = ("clusters", "one matrix", "all axes", "some axes")
    stages = [stage(kind, unit(found), labels, classes) for kind in kinds]
    assert {s.density.classes for s in stages} == {classes}
    piece = Piece(
        lambda graph, *read: {
            "evidence": (evidence(graph, stages, dict(zip(kinds, read, strict=True))), "float32")
        },
        **dict.fromkeys(kinds, (2, "float32")),
    )
    asked = torch.cat([found[:40], features(40, 12, classes)[0] * 5])
    theirs = piece(**dict.fromkeys(kinds, asked))["evidence"]
    own = torch.stack([s.evidence(unit(asked)) for s in stages], 1)
    assert torch.allclose(theirs, own, rtol=2e-4, atol=2e-4)
    assert float(own.min()) < 1
    assert float(own.max()) > 20
    strange = asked.clone()
    strange[0, 0], strange[1, 0] = torch.nan, torch.inf
    theirs = piece(**dict.fromkeys(kinds, strange))["evidence"]
    assert bool((theirs[:2] == MOST_EVIDENCE).all())
    assert torch.allclose(theirs[2:], own[2:], rtol=2e-4, atol=2e-4)


def test_sums_of_features_are_gathered_as_the_familiarity_adds_them() -> None:
    """Not by adding to places, which ONNX Runtime does on several threads at once."""
    generator = torch.Generator().manual_seed(3)
    pooled = torch.randn(5, 9_000, generator=generator)
    found = hashing(9_000)
    assert found is not None
    places, signs = _gathers(*found)
    own = hashed(pooled, found)
    assert torch.allclose((pooled[:, places] * signs).sum(-1), own, atol=1e-4)
    assert int((signs != 0).sum()) == 9_000
