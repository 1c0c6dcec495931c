"""Where a network comes from, and what it wants of the images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from nescio.data import Preprocessing, choose_preprocessing
from nescio.errors import UsageError
from nescio.network.build import (
    ARCHITECTURES,
    OWN,
    NetworkLike,
    NetworkSpec,
    make_network,
    require_network,
)
from nescio.network.normalise import normalised, parse_normalisation
from nescio.network.weights import LoadedWeights, load_weights
from nescio.network.zoo import is_zoo, zoo_config
from nescio.progress import SILENT, Reporter

LISTED = 12
"""How many classes a note names."""


@dataclass(frozen=True)
class NetworkSource:
    """What the user says of a network.

    Attributes:
        network: The module itself, its name or what makes it, see
            :data:`nescio.network.NetworkLike`.
        weights: A file with the weights to begin with, see :func:`load_weights`.
        normalise: See :func:`nescio.network.parse_normalisation`.
        image_size: The side that images are to have, in pixels, or ``(H, W)``.
        classes: The class names, in the order of the outputs, once they are known.
    """

    network: NetworkLike
    weights: str | Path | None = None
    normalise: str = "auto"
    image_size: int | tuple[int, int] | None = None
    classes: tuple[str, ...] = ()

    @property
    def zoo(self) -> str | None:
        """The name of a network of timm, if it is one."""
        return self.network if isinstance(self.network, str) and is_zoo(self.network) else None

    def check(self, *, freeze: bool) -> None:
        """Fail before images are read, where that can be known.

        Args:
            freeze: Whether the trunk is to stay as it is.

        Raises:
            UsageError: The network can be none; the file of weights is not there; or a network
                would be frozen that nothing has trained.
        """
        require_network(self.network)
        if self.weights is not None and not Path(self.weights).is_file():
            raise UsageError(f"--weights {self.weights}: no such file")
        named = isinstance(self.network, str) and self.network in ARCHITECTURES
        untrained = named or self.zoo is not None
        if freeze and untrained and self.weights is None:
            raise UsageError(
                f"--freeze keeps what comes before the head as it is, and {self.network} begins "
                "at random; give its trained weights with --weights FILE"
            )

    def preprocessing(self) -> Preprocessing | None:
        """What images must be brought to for this network; ``None`` where it follows the data.

        Networks of timm were made for colour images; grey ones become such by repetition.

        Raises:
            UsageError: There is no such network, or no such size.
        """
        if self.zoo is None:
            return None
        channels, height, width = zoo_config(self.zoo).shape
        if self.image_size is None:
            return Preprocessing(channels, height, width)
        return choose_preprocessing([], colour=channels == 3, image_size=self.image_size)

    def spec(self, shape: tuple[int, int, int], classes: int) -> NetworkSpec:
        """What is needed to build it again.

        Raises:
            UsageError: The normalisation is none, or does not fit the images.
        """
        own = None if self.zoo is None else zoo_config(self.zoo).normalisation
        normalisation = parse_normalisation(self.normalise, shape[0], own)
        name = self.network if isinstance(self.network, str) else OWN
        return NetworkSpec(name, shape, classes, normalisation)

    def module(
        self, spec: NetworkSpec, seed: int, reporter: Reporter
    ) -> tuple[nn.Module, LoadedWeights | None]:
        """The network with its weights and behind its normalisation; and where they came from.

        The user's own object is not changed.

        Raises:
            UsageError: The network or the file cannot be found or read.
            ArchitectureError: The network cannot be built, or the weights do not fit.
        """
        network = make_network(self.network, spec, seed)
        loaded = None
        if self.weights is not None:
            network = copy.deepcopy(network)
            classifiers = () if self.zoo is None else zoo_config(self.zoo).classifiers
            loaded = load_weights(network, Path(self.weights), classifiers, self.classes)
            reporter.note(_tell_head(loaded, spec.classes, self.classes))
        return normalised(network, spec.normalise), loaded

    def again(self, spec: NetworkSpec) -> Callable[[int], nn.Module] | None:
        """Builds the network with other initial weights, by a seed, where it can be built."""
        if isinstance(self.network, nn.Module):
            return None
        return lambda seed: self.module(spec, seed, SILENT)[0]


def _tell_head(loaded: LoadedWeights, count: int, classes: Sequence[str]) -> str:
    """What became of the last layer, and which output was taken for which class."""
    if loaded.left:
        return (
            f"{loaded.file} has no {', '.join(loaded.left)} for {count} classes: left as "
            "initialised, to be trained"
        )
    if loaded.by_name:
        return f"{loaded.file}: its last layer is taken over, class by class, by the names in it"
    told = f"{loaded.file}: its last layer is taken over as it is, and it does not name its classes"
    if not classes:
        return told
    told += f": its outputs are taken to be, in this order, {_first(classes)}"
    as_text = sorted(classes)
    if as_text != [*classes]:
        told += (
            f"; sorted as text, as torchvision's ImageFolder has them, they would be "
            f"{_first(as_text)}"
        )
    return (
        f"{told}. If the order was another, save the names of its classes beside the weights"
        " as 'classes'"
    )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + ", ..." * (len(names) > LISTED)
