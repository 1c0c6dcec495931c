import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nescio.refusal import (
    error_probability,
    expected_entropy,
    joint_probability,
    mean_probability,
    mutual_information,
    predictive_entropy,
    quantile_probability,
    scores,
)

# Three images under two networks: agreeing and sure, disagreeing and sure, both unsure.
BY_HAND = torch.tensor(
    [
        [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]],
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]],
    ]
)
LOG2 = math.log(2)


def test_by_hand() -> None:
    assert mean_probability(BY_HAND)[1].tolist() == [0.5, 0.5, 0.0]
    assert predictive_entropy(BY_HAND).tolist() == pytest.approx([0, LOG2, LOG2])
    assert expected_entropy(BY_HAND).tolist() == pytest.approx([0, 0, LOG2])
    assert mutual_information(BY_HAND).tolist() == pytest.approx([0, LOG2, 0])


def test_uniform_has_the_largest_entropy() -> None:
    uniform = torch.full((4, 1, 7), 1 / 7)
    assert float(predictive_entropy(uniform)) == pytest.approx(math.log(7))
    assert float(mutual_information(uniform)) == pytest.approx(0, abs=1e-6)


probabilities = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(2, 5)),
    elements=st.floats(np.float32(0.01), 1, width=32),
).map(lambda a: torch.from_numpy(a / a.sum(-1, keepdims=True)))


@settings(deadline=None)
@given(probabilities, st.floats(0.01, 0.99))
def test_quantile_is_numpys(p: torch.Tensor, quantile: float) -> None:
    expected = np.quantile(p.numpy().astype(np.float64), quantile, axis=0)
    assert np.allclose(quantile_probability(p, quantile).numpy(), expected, atol=1e-6)


def test_quantile_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    p = torch.rand(9, 11, 3)
    whole = quantile_probability(p, 0.3)
    monkeypatch.setattr(scores, "QUANTILE_ELEMENTS", 9 * 3 * 2)
    assert torch.equal(quantile_probability(p, 0.3), whole)


@settings(deadline=None)
@given(probabilities, st.randoms(use_true_random=False))
def test_order_of_networks_plays_no_part(p: torch.Tensor, random: object) -> None:
    order = list(range(len(p)))
    random.shuffle(order)  # type: ignore[attr-defined]
    for score in (predictive_entropy, expected_entropy, mutual_information):
        assert torch.allclose(score(p[order]), score(p), atol=1e-5)


@settings(deadline=None)
@given(probabilities)
def test_parts_add_up(p: torch.Tensor) -> None:
    total = expected_entropy(p) + mutual_information(p)
    assert torch.allclose(total, predictive_entropy(p), atol=1e-5)
    assert bool((mutual_information(p) >= 0).all())


def test_joint_probability_by_hand() -> None:
    p = torch.tensor([[[0.8, 0.2, 0.0]], [[0.5, 0.5, 0.0]]])
    far = torch.tensor([[math.log(8.0), 0.0, 0.0]])
    # Class 0 weighs an eighth: 0.1 against 0.2, and 0.0625 against 0.5.
    joint = joint_probability(p, far + 3)
    expected = torch.tensor([[[1 / 3, 2 / 3, 0.0]], [[1 / 9, 8 / 9, 0.0]]])
    assert torch.allclose(joint, expected)
    same = joint_probability(p, torch.full((1, 3), 7.0))
    assert torch.allclose(same, p)
    nowhere = joint_probability(p, torch.full((1, 3), math.inf))
    assert torch.allclose(nowhere, p)
    one = joint_probability(p, torch.tensor([[math.inf, 1.0, math.inf]]))
    assert torch.allclose(one, torch.tensor([0.0, 1.0, 0.0]).expand(2, 1, 3))


def test_a_network_that_is_sure_of_a_class_that_the_image_cannot_be_of() -> None:
    """0 x 1 and 1 x 0: no class is left, so all are as probable, and the answer is no sure one."""
    p = torch.tensor([[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]])
    far = torch.tensor([[math.inf, 0.0, 1.0], [2.0, 2.0, 0.0]])
    joint = joint_probability(p, far)
    assert torch.allclose(joint[0, 0], torch.full((3,), 1 / 3))
    assert torch.allclose(joint[0, 1], torch.tensor([0.5, 0.5, 0.0]))
    assert error_probability(joint)[0] == pytest.approx(2 / 3)
