"""The models that are served, by name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nescio.classifier import Classifier, Predictor, load_model
from nescio.errors import NescioError, RuleError, UsageError

logger = logging.getLogger(__name__)

Load = Callable[[Path], Classifier]
"""Reads a model file."""


LOOK_EVERY = 30.0
"""Seconds: to find out how many threads pay takes a tenth of one, and a request waits for it."""


@dataclass(frozen=True, eq=False)
class Served:
    """A model as it is served: equal to itself alone, so that a reloaded one is another.

    Attributes:
        name: What requests call it.
        classifier: The model.
        predictor: Answers as the model does; for the batcher's thread alone.
        promises: Which error rates could be promised, as JSON; ``None`` where the model keeps
            nothing of its calibration.
    """

    name: str
    classifier: Classifier
    predictor: Predictor
    promises: list[dict[str, Any]] | None

    @staticmethod
    def of(name: str, classifier: Classifier) -> Served:
        """A classifier made ready."""
        try:
            promises = [row.to_json() for row in classifier.promises()]
        except RuleError:
            promises = None
        return Served(name, classifier, classifier.predictor(look_every=LOOK_EVERY), promises)


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        name: What requests call it.
        path: Its file.
    """

    name: str
    path: Path

    @staticmethod
    def parse(text: str) -> Source:
        """Read ``NAME=FILE``, or ``FILE`` alone, which is named after the file.

        What is there as a whole is a file, though an equals sign may stand in its name.
        """
        name, equals, path = text.partition("=")
        if equals and name and "/" not in name and not Path(text).exists():
            return Source(name, Path(path))
        return Source(Path(text).stem, Path(text))


class Models:
    """The models that are served; the first is the default.

    A reload replaces all of them in one step: who took one keeps what he has.
    """

    def __init__(self, sources: Sequence[Source], load: Load = load_model) -> None:
        """Read all files.

        Raises:
            UsageError: There is none, or two have one name.
            ModelFileError: One cannot be read.
        """
        names = [source.name for source in sources]
        if not names:
            raise UsageError("name at least one model file to serve")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"two models are named {twice!r}; name them with NAME=FILE")
        self._sources = tuple(sources)
        self._load = load
        self._served: Mapping[str, Served] = {s.name: self._read(s) for s in sources}

    @property
    def default(self) -> str:
        """The name of the model that answers where none is named."""
        return self._sources[0].name

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order given."""
        return tuple(self._served)

    def get(self, name: str | None) -> Served | None:
        """The model of that name, or the default; ``None`` where there is no such."""
        return self._served.get(self.default if name is None else name)

    def reload(self) -> list[str]:
        """Read all files again; a file that cannot be read leaves its model as it was.

        Returns:
            The names of the models that were left.
        """
        fresh, left = dict(self._served), []
        for source in self._sources:
            try:
                fresh[source.name] = self._read(source)
            except (NescioError, OSError) as error:
                logger.error("model %s is left as it was: %s", source.name, error)  # noqa: TRY400
                left.append(source.name)
        self._served = fresh
        return left

    def _read(self, source: Source) -> Served:
        return Served.of(source.name, self._load(source.path))
