"""Weights from files: what fits is taken, what does not is named, and no code runs."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests_support import Told
from torch import Tensor, nn

from nescio.errors import ArchitectureError, NescioError, UsageError
from nescio.network import NetworkSource, load_weights
from nescio.network.weights import class_names


def network(classes: int = 3) -> nn.Module:
    layers = {"body": nn.Linear(4, 5), "norm": nn.BatchNorm1d(5), "fc": nn.Linear(5, classes)}
    return nn.Sequential(OrderedDict(layers))


def other_weights(classes: int = 3) -> dict[str, Tensor]:
    return {
        name: value + 1 if value.is_floating_point() else value
        for name, value in network(classes).state_dict().items()
    }


def write(path: Path, content: object) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)  # type: ignore[arg-type]
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.bin"])
def test_all_weights_are_taken_and_the_file_is_told(tmp_path: Path, name: str) -> None:
    weights, into = other_weights(), network()
    path = write(tmp_path / name, weights)
    loaded = load_weights(into, path)
    for own, value in into.state_dict().items():
        assert torch.equal(value, weights[own]), own
    assert loaded.file == path.name
    assert loaded.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.left == ()


def within(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda weights: {name: weights, "epoch": 3}


def before(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda weights: {f"{prefix}{name}": value for name, value in weights.items()}


@pytest.mark.parametrize(
    "form",
    [
        within("state_dict"),
        within("model"),
        before("module."),
        before("model."),
        before("module.model._orig_mod."),
        lambda weights: {"state_dict": before("module.")(weights)},
        OrderedDict,
        lambda weights: {n: v.double() if v.is_floating_point() else v for n, v in weights.items()},
    ],
)  # fmt: skip
def test_wrappings_and_prefixes_are_understood(
    tmp_path: Path, form: Callable[[dict[str, Tensor]], object]
) -> None:
    weights, into = other_weights(), network()
    load_weights(into, write(tmp_path / "w.pth", form(weights)))
    assert torch.equal(into.get_parameter("body.weight"), weights["body.weight"])


def test_a_prefix_that_is_the_networks_own_stays(tmp_path: Path) -> None:
    into = nn.Sequential(OrderedDict(model=network()))
    other = other_weights()
    load_weights(into, write(tmp_path / "w.pth", before("module.model.")(other)))
    own = into.state_dict()
    assert all(torch.equal(own[name], value) for name, value in before("model.")(other).items())


def without(weights: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name not in names}


@pytest.mark.parametrize(
    "weights",
    [
        other_weights(classes=7),
        without(other_weights(), "fc.weight", "fc.bias"),
        without(other_weights(), "fc.bias"),
        other_weights() | {"fc.more": torch.ones(2)},
    ],
)
def test_the_last_layer_may_differ_and_is_left_as_it_is(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    into = network()
    before_loading = {name: value.clone() for name, value in into.state_dict().items()}
    loaded = load_weights(into, write(tmp_path / "w.safetensors", weights))
    assert loaded.left == ("fc.weight", "fc.bias")
    for name in loaded.left:
        assert torch.equal(into.state_dict()[name], before_loading[name])
    assert torch.equal(into.get_parameter("body.weight"), weights["body.weight"])


def test_a_network_may_have_two_classifiers(tmp_path: Path) -> None:
    def twice(classes: int) -> nn.Module:
        return nn.Sequential(OrderedDict(one=network(classes), two=network(classes)))

    path = write(tmp_path / "w.pth", twice(7).state_dict())
    with pytest.raises(ArchitectureError, match=r"one\.fc\.weight \(7, 5\) instead of \(3, 5\)"):
        load_weights(twice(3), path)
    loaded = load_weights(twice(3), path, ["one.fc", "two.fc"])
    assert loaded.left == ("one.fc.weight", "one.fc.bias", "two.fc.weight", "two.fc.bias")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (without(other_weights(), "body.bias"), "missing: body.bias"),
        (other_weights() | {"odd": torch.ones(1)}, "unexpected: odd"),
        (
            other_weights() | {"body.weight": torch.ones(4, 4)},
            "of another shape: body.weight (4, 4) instead of (5, 4)",
        ),
        (other_weights() | {"body.bias": torch.ones(5).long()}, "of another type: body.bias"),
        (
            {f"x{i}": torch.ones(1) for i in range(7)},
            "missing: body.weight, body.bias, norm.weight, norm.bias and 2 more; "
            "unexpected: x0, x1, x2, x3 and 3 more",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(
    tmp_path: Path, weights: dict[str, Tensor], words: str
) -> None:
    into = network()
    start = {name: value.clone() for name, value in into.state_dict().items()}
    with pytest.raises(ArchitectureError, match="they do not fit the network: ") as caught:
        load_weights(into, write(tmp_path / "w.pth", weights))
    assert f"do not fit the network: {words}; name the file of" in str(caught.value)
    assert all(torch.equal(value, start[name]) for name, value in into.state_dict().items())


def test_weights_that_are_not_numbers(tmp_path: Path) -> None:
    weights = other_weights()
    weights["body.bias"][2] = torch.nan
    with pytest.raises(ArchitectureError, match=r"body\.bias are not all finite"):
        load_weights(network(), write(tmp_path / "w.pth", weights))


def test_one_of_tied_weights_is_enough(tmp_path: Path) -> None:
    into = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    into[1].weight = into[0].weight
    weights = {name: value + 1 for name, value in into.state_dict().items() if name != "1.weight"}
    load_weights(into, write(tmp_path / "w.safetensors", weights))
    assert torch.equal(into[1].weight, weights["0.weight"])


def test_a_count_of_batches_may_be_missing(tmp_path: Path) -> None:
    weights = without(other_weights(), "norm.num_batches_tracked")
    assert load_weights(network(), write(tmp_path / "w.pth", weights)).left == ()


class RunsCode:
    """What a pickle may do to its reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_file_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    content = other_weights() | {"fc.bias": RunsCode(trap)}
    with pytest.raises(UsageError, match="could run code and is not read"):
        load_weights(network(), write(tmp_path / "w.pth", content))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.pth", b"", "not a readable file of weights"),
        ("w.pth", b"hello", "not a"),
        ("w.pth", b"PK\x03\x04 no archive", "not a"),
        ("w.safetensors", b"hello", "not a readable file of weights"),
        ("w.safetensors", b"\xff" * 64, "not a readable file of weights"),
    ],
)
def test_files_that_are_damaged_or_foreign(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        load_weights(network(), path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, torch.ones(3), {"model": {"a": 1}}])
def test_files_without_weights(tmp_path: Path, content: object) -> None:
    with pytest.raises(UsageError, match="expected tensors by name"):
        load_weights(network(), write(tmp_path / "w.pth", content))


def test_names_that_are_all_prefix_end_somewhere(tmp_path: Path) -> None:
    weights = {"module.model.net." * 400 + str(i): torch.ones(1) for i in range(3)}
    with pytest.raises(NescioError, match="do not fit"):
        load_weights(network(), write(tmp_path / "w.pth", weights))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_weights(network(), tmp_path / "none.pth")


NAMES = tuple(str(i) for i in range(1, 13))
"""Folders 1..12, which a person puts into another order than a sort of texts."""


@pytest.mark.parametrize("form", ["list", "class_to_idx", "idx_to_class", "safetensors"])
def test_a_head_in_another_order_of_classes_is_brought_to_ours(tmp_path: Path, form: str) -> None:
    weights, theirs = other_weights(12), sorted(NAMES)
    assert theirs != [*NAMES]
    if form == "safetensors":
        path = tmp_path / "w.safetensors"
        save_file(weights, path, metadata={"classes": json.dumps(theirs)})
    else:
        named: dict[str, object] = {
            "list": {"classes": theirs},
            "class_to_idx": {"class_to_idx": {name: i for i, name in enumerate(theirs)}},
            "idx_to_class": {"idx_to_class": dict(enumerate(theirs))},
        }[form]
        path = write(tmp_path / "w.pth", {"state_dict": weights, **named})
    into = network(12)
    loaded = load_weights(into, path, classes=NAMES)
    assert (loaded.left, loaded.by_name) == ((), True)
    own = into.state_dict()
    for place, name in enumerate(NAMES):
        for tensor in ("fc.weight", "fc.bias"):
            assert torch.equal(own[tensor][place], weights[tensor][theirs.index(name)])
    assert torch.equal(own["body.weight"], weights["body.weight"])


def test_a_head_of_other_classes_is_not_taken(tmp_path: Path) -> None:
    path = write(
        tmp_path / "w.pth", {"state_dict": other_weights(), "classes": ["cat", "dog", "fox"]}
    )
    into = network()
    before = into.state_dict()["fc.weight"].clone()
    loaded = load_weights(into, path, classes=("cat", "dog", "owl"))
    assert loaded.left == ("fc.weight", "fc.bias")
    assert torch.equal(into.state_dict()["fc.weight"], before)
    assert load_weights(network(), path, classes=("fox", "cat", "dog")).by_name
    # What is no list of names says nothing of the order.
    assert class_names({"classes": 3, "class_to_idx": {"a": "b"}}) == ()
    assert class_names({"classes": "[1, 2]"}) == ("1", "2")


def test_the_order_in_which_a_head_is_taken_is_told(tmp_path: Path) -> None:
    path, told = write(tmp_path / "w.pth", other_weights(12)), Told()
    source = NetworkSource(network(12), path, classes=NAMES)
    source.module(source.spec((1, 2, 2), 12), 0, told)
    (note,) = told.notes
    assert "w.pth: its last layer is taken over as it is, and it does not name its classes" in note
    assert "in this order, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12; sorted as text, as" in note
    assert "they would be 1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9. If the order was another" in note
    path, told = (
        write(tmp_path / "n.pth", {"net": other_weights(), "classes": ["a", "c", "b"]}),
        Told(),
    )
    source = NetworkSource(network(), path, classes=("a", "b", "c"))
    source.module(source.spec((1, 2, 2), 3), 0, told)
    assert told.notes == ["n.pth: its last layer is taken over, class by class, by the names in it"]
