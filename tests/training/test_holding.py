import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nescio.data import ImageSet
from nescio.training.holding import LEAST, MOST, OF_A_CLASS, SHARE, hold_out


def image_set(labels: Tensor, groups: Tensor | None = None) -> ImageSet:
    """Images that are told by their two pixels."""
    numbers = torch.arange(len(labels))
    pixels = torch.stack([numbers // 256, numbers % 256], 1).to(torch.uint8)
    classes = tuple(f"{number:03}" for number in range(int(labels.max()) + 1))
    return ImageSet("h", pixels[:, None, None], labels, classes, groups=groups)


def numbers(images: ImageSet) -> list[int]:
    """Which images these are."""
    pixels = images.images[:, 0, 0].long()
    return (256 * pixels[:, 0] + pixels[:, 1]).tolist()


def test_a_twentieth_is_held_out_and_nothing_is_lost() -> None:
    whole = image_set(torch.arange(1000) % 4)
    train, held = hold_out(whole, 0)
    assert held is not None
    assert len(held) == SHARE * 1000
    assert sorted(numbers(train) + numbers(held)) == list(range(1000))
    # In their order, with their labels.
    assert numbers(train) == sorted(numbers(train))
    assert held.require_labels().tolist() == [number % 4 for number in numbers(held)]
    assert train.classes == held.classes == whole.classes


@pytest.mark.parametrize(
    ("count", "expected"),
    [(20, 0), (149, 0), (150, LEAST), (169, LEAST), (10_000, MOST), (20_000, MOST)],
)
def test_how_many_are_held_out(count: int, expected: int) -> None:
    whole = image_set(torch.arange(count) % 3)
    train, held = hold_out(whole, 0)
    if expected:
        assert held is not None
        assert len(held) == expected
    else:
        assert held is None
        assert train is whole


def test_the_choice_is_that_of_the_seed() -> None:
    whole = image_set(torch.arange(1000) % 4)
    first, again, other = (hold_out(whole, seed)[1] for seed in (3, 3, 4))
    assert first is not None
    assert again is not None
    assert other is not None
    assert numbers(first) == numbers(again)
    assert numbers(first) != numbers(other)


def test_any_image_may_be_held_out() -> None:
    whole = image_set(torch.arange(200) % 4)
    seen: set[int] = set()
    for seed in range(200):
        _, held = hold_out(whole, seed)
        assert held is not None
        seen |= set(numbers(held))
    # Each is held out in a twentieth of the times: never with a chance of 0.95^200 = 0.00004.
    assert len(seen) == 200


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=12), seed=st.integers(0, 10_000))
def test_no_class_loses_more_than_a_fifth(sizes: list[int], seed: int) -> None:
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    train, held = hold_out(image_set(labels), seed)
    if held is None:
        assert len(train) == len(labels)
        return
    lost = torch.bincount(held.require_labels(), minlength=len(sizes))
    assert bool((lost <= torch.tensor(sizes) // OF_A_CLASS).all())
    assert LEAST <= len(held) <= round(SHARE * len(labels))


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), min_size=100, max_size=300),
    seed=st.integers(0, 10_000),
)
def test_images_that_belong_together_stay_together(
    groups: list[tuple[int, int]], seed: int
) -> None:
    """Groups of one class each."""
    of_group, sizes = (torch.tensor(part) for part in zip(*groups, strict=True))
    order = torch.randperm(int(sizes.sum()), generator=torch.Generator().manual_seed(seed))
    belongs = torch.arange(len(groups)).repeat_interleave(sizes)[order]
    # Numbers that say nothing but which are equal.
    train, held = hold_out(image_set(of_group[belongs], 1000 - 7 * belongs), seed)
    if held is None:
        assert round(SHARE * len(groups)) < LEAST
        return
    assert train.groups is not None
    assert held.groups is not None
    kept, out = set(train.groups.tolist()), set(held.groups.tolist())
    assert not kept & out
    assert len(kept | out) == len(groups)
    assert len(out) == min(MOST, round(SHARE * len(groups)))
    lost = torch.bincount(of_group[(1000 - torch.tensor(sorted(out))) // 7], minlength=4)
    assert bool((lost <= torch.bincount(of_group, minlength=4) // OF_A_CLASS).all())


def test_a_few_large_groups_are_not_held_out() -> None:
    labels = torch.arange(3000) % 3
    whole = image_set(labels, groups=torch.arange(3000) // 100)
    train, held = hold_out(whole, 0)
    assert held is None
    assert train is whole


def test_many_small_classes_lose_none() -> None:
    whole = image_set(torch.arange(2000) % 500)
    assert hold_out(whole, 0) == (whole, None)


def test_no_class_is_lost_with_groups_of_several_classes() -> None:
    labels = torch.zeros(400, dtype=torch.int64)
    labels[1::2] = 2
    labels[0] = 1  # the only one of its class, in a group with one of another
    whole = image_set(labels, groups=torch.arange(400) // 2)
    assert all(1 in hold_out(whole, seed)[0].require_labels() for seed in range(100))
