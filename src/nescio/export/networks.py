"""The network in the graph: what all sampled networks share, its stages, and the samples.

PyTorch's own exporter translates the user's network; what it makes becomes a part of the graph.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx.inliner import inline_local_functions
from torch import Tensor, nn
from torch.func import functional_call

from nescio.classifier import Classifier
from nescio.data import to_float
from nescio.errors import ArchitectureError
from nescio.export.graph import OPSET, Graph, Value
from nescio.familiarity import IMAGE, OUTPUT, Wavelets, source_of
from nescio.familiarity.stages import MOST_FEATURES, hashing, pool_features
from nescio.network import Cut, cut_network, first_line, twin
from nescio.randomness import Stream, generator

EXAMPLES = 3
"""Images that the exporter runs; not 1, which it would take for the only number."""


@dataclass(frozen=True)
class Draw:
    """Which networks are exported.

    Attributes:
        samples: ``S``.
        seed: Of the networks.
    """

    samples: int
    seed: int


def cut_for_export(classifier: Classifier) -> Cut:
    """The network in two parts, as predictions cut it, in module objects of its own."""
    return cut_network(twin(classifier.network), classifier.guide.names, _example(classifier))


def shared_part(
    graph: Graph, classifier: Classifier, cut: Cut, x: Value, stages: Sequence[str]
) -> tuple[Value, dict[str, Value]]:
    """What runs once: the input of the sampled part, and the features of each source.

    Args:
        graph: Where it is written.
        classifier: Its guide's means are the weights with which stages are read.
        cut: See :func:`cut_for_export`.
        x: ``(n, K, h, w)`` float32 in [0, 1].
        stages: Names; none where the rule does not judge familiarity.

    Raises:
        ArchitectureError: The network cannot be exported.
    """
    if cut.trunk is None and not stages:
        return x, {}
    sources = tuple(dict.fromkeys(map(source_of, stages)))
    example = _example(classifier)
    reading = _Reading(cut, classifier.guide.center(), sources, example)
    results = graph.include(_translate(reading, (example,), ({0: _batch()},)), [x])
    features, read = (x, results) if cut.trunk is None else (results[0], results[1:])
    return features, dict(zip(sources, read, strict=True))


def sampled_part(
    graph: Graph, classifier: Classifier, cut: Cut, features: Value, draw: Draw
) -> Value:
    """The outputs ``(S, n, C)`` of the sampled networks.

    A single linear layer for all samples is one product; any other part is run once for each.

    Raises:
        ArchitectureError: The network cannot be exported.
    """
    stacks = _stacks(classifier, cut, draw)
    linear = cut.linear
    if linear is not None:
        return _one_product(graph, linear, stacks, features, draw.samples)
    with torch.no_grad():
        example = cut.features(_example(classifier))
    head = _Head(cut.head, tuple(stacks))
    weights = tuple(stack[0] for stack in stacks.values())
    dynamic = ({0: _batch()}, tuple(None for _ in weights))
    model = _translate(head, (example, *weights), dynamic)
    stored = [graph.constant(stack.numpy(), "samples") for stack in stacks.values()]
    return graph.for_each(model, features, stored)


def _stacks(classifier: Classifier, cut: Cut, draw: Draw) -> dict[str, Tensor]:
    """The sampled weights ``(S, ...)`` on the CPU, by their names in the head."""
    sample = classifier.guide.sampler()
    stacks: dict[str, Tensor] = {}
    for number in range(draw.samples):
        drawn = sample(generator(draw.seed, Stream.PREDICTION, number), number)
        for name, value in drawn.items():
            own = name.removeprefix(cut.prefix)
            if number == 0:
                stacks[own] = torch.empty(draw.samples, *value.shape)
            stacks[own][number] = value.detach().cpu()
    return stacks


def _one_product(
    graph: Graph,
    layer: tuple[str, nn.Linear],
    stacks: Mapping[str, Tensor],
    features: Value,
    samples: int,
) -> Value:
    prefix, linear = layer
    classes, width = linear.weight.shape
    parameters = linear.named_parameters()
    own = {name: p.detach().cpu().expand(samples, *p.shape) for name, p in parameters}
    own |= {name.removeprefix(prefix): stack for name, stack in stacks.items()}
    weights = own["weight"].reshape(samples * classes, width).T
    logits = features @ graph.constant(weights.contiguous().numpy(), "samples")
    if "bias" in own:
        logits = logits + graph.constant(own["bias"].reshape(-1).numpy(), "samples")
    return logits.reshape(-1, samples, classes).transpose(1, 0, 2)


class _Reading(nn.Module):
    """Images ``(n, K, h, w)`` to the head's input, if there is a trunk, and stages' features."""

    def __init__(
        self, cut: Cut, means: Mapping[str, Tensor], stages: Sequence[str], example: Tensor
    ) -> None:
        super().__init__()
        self.trunk = cut.trunk
        self.head = cut.head
        names = [name.removeprefix(cut.prefix) for name in means]
        self._slots = {name: f"mean{number}" for number, name in enumerate(names)}
        for slot, value in zip(self._slots.values(), means.values(), strict=True):
            self.register_buffer(slot, value.detach().clone())
        self._stages = tuple(stages)
        self._wavelets = Wavelets(example.device)
        self._read: dict[str, Tensor] = {}
        for name in self._stages:
            if name not in (IMAGE, OUTPUT):
                self._module(name, cut.prefix).register_forward_hook(self._keep(name))
        self._hashes: dict[str, tuple[Tensor, Tensor]] = {}
        with torch.no_grad():
            self._run(example)
        # Drawn now: the exporter would take them for random numbers of the network's own.
        for name, own in self._read.items():
            width = pool_features(own).shape[1]
            if (found := hashing(width)) is not None:
                self._hashes[name] = _gathers(*found)

    def _module(self, name: str, prefix: str) -> nn.Module:
        """The layer of that name in the whole network, in whichever part holds it."""
        if prefix and f"{name}.".startswith(prefix):
            return self.head.get_submodule(f"{name}.".removeprefix(prefix).removesuffix("."))
        within = None if self.trunk is None else dict(self.trunk.named_modules()).get(name)
        return within or self.head.get_submodule(name)

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._read[name] = output

        return hook

    def _run(self, x: Tensor) -> Tensor:
        features = x if self.trunk is None else self.trunk(x)
        if self._stages:
            means = {name: getattr(self, slot) for name, slot in self._slots.items()}
            self._read[OUTPUT] = functional_call(self.head, means, (features,))
        if IMAGE in self._stages:
            self._read[IMAGE] = self._wavelets(x)
        return features

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The input of the head, unless that is the image; then the features ``(n, d)``."""
        self._read = {}
        features = self._run(x)
        read = [self._hashed(name) for name in self._stages]
        return tuple(read) if self.trunk is None else (features, *read)

    def _hashed(self, name: str) -> Tensor:
        """As :func:`nescio.familiarity.stages.hashed`, in other words."""
        pooled = pool_features(self._read[name])
        found = self._hashes.get(name)
        if found is None:
            return pooled.contiguous()
        places, signs = found
        return (pooled[:, places] * signs).sum(-1)


def _gathers(places: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    """For each sum the numbers in it and their signs, both ``(most, width of the widest)``.

    PyTorch adds to places, which ONNX calls ``ScatterND``: ONNX Runtime 1.32 does that on several
    threads at once, and loses what two of them add to one place. So sums are gathered instead; a
    sign of 0 fills up those of few numbers.
    """
    members = [(places == number).nonzero().flatten() for number in range(MOST_FEATURES)]
    widest = max(len(own) for own in members)
    index = torch.zeros(MOST_FEATURES, widest, dtype=torch.int64)
    weight = torch.zeros(MOST_FEATURES, widest)
    for number, own in enumerate(members):
        index[number, : len(own)], weight[number, : len(own)] = own, signs[own]
    return index, weight


class _Head(nn.Module):
    """The sampled part, with its random weights among its inputs."""

    def __init__(self, head: nn.Module, names: Collection[str]) -> None:
        super().__init__()
        self.head = head
        self._names = tuple(names)

    def forward(self, features: Tensor, *weights: Tensor) -> Tensor:
        """``(n, C)`` float32."""
        own = dict(zip(self._names, weights, strict=True))
        output: Tensor = functional_call(self.head, own, (features,))
        return output.float()


def _example(classifier: Classifier) -> Tensor:
    """A few images of random pixels, on the classifier's device."""
    pixels = torch.Generator().manual_seed(0)
    shape = (EXAMPLES, *classifier.preprocessing.shape)
    images = torch.randint(256, shape, generator=pixels, dtype=torch.uint8)
    return to_float(images.to(classifier.device))


def _batch() -> Any:
    return torch.export.Dim("batch", min=1)


def _translate(module: nn.Module, arguments: tuple[Tensor, ...], dynamic: Any) -> onnx.ModelProto:
    """A module as an ONNX model for any number of images.

    Raises:
        ArchitectureError: It holds what has no translation, or works for one number alone.
    """
    try:
        with _silence(), torch.no_grad():
            traced = torch.export.export(module.eval(), arguments, dynamic_shapes=dynamic)
            program = torch.onnx.export(traced, dynamo=True, opset_version=OPSET, verbose=False)
    except Exception as error:
        raise ArchitectureError(f"the network cannot be exported to ONNX: {_why(error)}") from error
    assert program is not None  # noqa: S101 - it is, for exports of this kind
    model: onnx.ModelProto = program.model_proto
    return inline_local_functions(model)


@contextmanager
def _silence() -> Iterator[None]:
    """The exporter talks of its progress, and warns of what is its own affair."""
    logger = logging.getLogger("torch.onnx")
    level, told = logger.level, io.StringIO()
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(told), redirect_stderr(told):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _why(error: BaseException) -> str:
    """The operator that has no translation, where that is it; else the deepest cause."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(each) for each in chain)
    found = re.search(r"op(?:overload)?='?([a-z_0-9]+\.[a-zA-Z_0-9.]+)", text, re.IGNORECASE)
    if found:
        return (
            f"ONNX has no operator for {found[1]}; write that layer with others, or keep this "
            "model in PyTorch"
        )
    return f"{_first_line_of(chain)}; keep this model in PyTorch, or write that part otherwise"


def _first_line_of(chain: Sequence[BaseException]) -> str:
    """Of the deepest cause that says anything."""
    said = [each for each in chain if isinstance(each, Exception) and str(each).strip()]
    return first_line(said[-1]) if said else "the exporter does not say why"
