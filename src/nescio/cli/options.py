"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from nescio.inference import Checkpoints


@Parameter(name="*", group="Common")
@dataclass(frozen=True)
class Common:
    """Options of every command that computes."""

    seed: int | None = None
    """The same seed gives the same answer. [train: 0; else the model's]"""

    device: str = "auto"
    """auto, cpu, cuda or mps."""

    precision: str = "auto"
    """float32, bfloat16, or auto: the latter where the processor has matrix units for it."""

    samples: int = 100
    """How many networks are drawn from the posterior."""

    quiet: Annotated[bool, Parameter(negative="")] = False
    """No progress and no warnings."""


@Parameter(name="*", group="Images")
@dataclass(frozen=True)
class ImageOptions:
    """What images are brought to; recorded in the model, and done with every image to predict."""

    image_size: str | None = None
    """Pixels a side, such as 96, or HEIGHTxWIDTH. [their own size, if one and at most 64; else a
    square of the median longer side, at most 64]"""

    colour: Literal["auto", "grey", "rgb"] = "auto"
    """auto: colour if any image has it."""

    fit: Literal["pad", "crop", "stretch"] = "pad"
    """What becomes of images of another aspect. pad: all of it, with black at two sides. crop: its
    middle, cut at two sides. stretch: all of it, out of shape."""

    value_range: str | None = None
    """LOW:HIGH, such as 0:4095: what becomes black and white in images of more than 8 bits, alike
    for all; values outside are cut. [found once, from all of them]"""

    background: str = "auto"
    """What transparent parts are laid on: black, white or #RRGGBB. auto: white where what is seen
    of the transparent images is dark, else black; white where none is transparent."""


@Parameter(name="*", group="Files")
@dataclass(frozen=True)
class ColumnOptions:
    """Where a table has its images and labels."""

    image_column: str | None = None
    """Of Parquet and hf: the column of images. [image, img, jpg, ...; else the only one]"""

    label_column: str | None = None
    """Likewise of labels. [label, labels, cls, class, ...; else the only one of class labels]"""


@Parameter(name="*", group="Files")
@dataclass(frozen=True)
class FileOptions(ColumnOptions):
    """How files of images are read."""

    skip_unreadable: Annotated[bool, Parameter(negative="")] = False
    """Leave out, and list, image files that cannot be read. Otherwise the first one is an error."""

    labels: Path | None = None
    """A CSV file, image,label, that labels the images of a folder without class folders; paths in
    it are relative to DATA, or to the file's own folder."""

    max_pixels: int | None = None
    """Refuse images of more pixels. [89,478,485; of a model, what it was trained with]"""

    memory: str = "1G"
    """Decoded images up to this size are held in memory. A larger folder is decoded once into the
    user's cache folder (nescio cache) and read from there."""

    stream: Annotated[bool, Parameter(negative="")] = False
    """Hold no decoded images and write none: each is decoded whenever it is needed. For folders,
    shards and hf: of more images than the disk holds decoded."""

    workers: int = 2
    """With --stream: processes that decode images ahead of training; 0 for none. The result does
    not hang on it."""

    shuffle_buffer: int = 16384
    """With --stream: by how many places an image of a shard may leave its neighbours when a pass
    is shuffled; at least as many as there are images is a whole shuffle. It takes no memory."""


@Parameter(name="*", group="Groups")
@dataclass(frozen=True)
class GroupOptions:
    """Which images belong together: frames of a film, pictures of one patient or one object.

    They stay in one part of every split: training, calibration or test.
    """

    group_by: str | None = None
    """A regular expression that finds an image's group in its path below DATA, such as
    'patient(\\d+)': what its parentheses match, or all that it matches."""

    groups: Path | None = None
    """Instead, a CSV file, image,group; paths in it are relative to DATA."""


@Parameter(name="*", group="Checkpoints")
@dataclass(frozen=True)
class CheckpointOptions:
    """What is kept of a training that may be stopped."""

    checkpoint: Path | None = None
    """Write the state of training to this folder after every pass. Whatever stops training then
    costs one pass at most, or --checkpoint-minutes of a longer one."""

    resume: Annotated[bool, Parameter(negative="")] = False
    """Go on from what is in --checkpoint, or begin where there is nothing yet. Give the same
    options as before: training ends, on the same machine, as it would have without a stop."""

    checkpoint_minutes: float = 10.0
    """Within a pass, write it after so many minutes."""

    keep_checkpoints: int = 2
    """How many of the last passes are kept."""

    def open(self) -> Checkpoints | None:
        """What is written and read, if anything is."""
        if self.checkpoint is None:
            return None
        from nescio.inference import Checkpoints

        return Checkpoints(
            self.checkpoint, keep=self.keep_checkpoints, minutes=self.checkpoint_minutes
        )


@Parameter(name="*", group="Promises")
@dataclass(frozen=True)
class PromiseOptions:
    """What the calibrated rule is to promise; options of every command that sets thresholds."""

    max_refusal: float | None = None
    """The share of familiar images that may be refused for both reasons together, or as
    unfamiliar alone where a risk is promised. [0.01; with fewer than 99 calibration images the
    smallest share that they can promise, at most 0.1]"""

    max_risk: float | None = None
    """Promise at most this share of errors among the familiar images that are answered."""

    confidence: float = 0.95
    """With which the risk is promised."""

    per_class: Annotated[bool, Parameter(negative="")] = False
    """Make both promises for each class."""


@Parameter(name="*", group="Many images")
@dataclass(frozen=True)
class ManyOptions:
    """Answers for any number of images, by one process or by those of torchrun."""

    out: Path | None = None
    """Write the answers to this file, .csv, .jsonl or .parquet, in input order and in bounded
    memory; what is done so far lies in OUT.parts beside it."""

    resume: Annotated[bool, Parameter(negative="")] = False
    """Go on with an earlier run of the same model, options and sources."""

    force: Annotated[bool, Parameter(negative="")] = False
    """Begin anew, whatever is there. Also overwrites the files of --csv and --plot."""


@Parameter(name="*", group="Promises")
@dataclass(frozen=True)
class RiskOptions:
    """Another promise than the model's own, from what it keeps of its calibration."""

    max_risk: float | None = None
    """What calibrated stands for: promise at most this share of errors among the familiar images
    that are answered. nescio info shows which shares could be promised."""

    confidence: float | None = None
    """With which --max-risk is promised. [the model's own]"""

    max_refusal: float | None = None
    """With --max-risk: the share of familiar images that may be refused as unfamiliar. [the
    model's own]"""


@Parameter(name="*", group="Pretrained networks")
@dataclass(frozen=True)
class NetworkOptions:
    """What a network begins with, and what of it stays as it is."""

    weights: Path | None = None
    """Begin with the weights in this file: safetensors, or a .pth of tensors alone. They must fit
    the network by name and shape, but for the last layer, which may be for other classes."""

    freeze: Annotated[bool, Parameter(negative="")] = False
    """Train the random weights alone (see --random); what comes before them stays as it is, so
    its features are computed once, and training takes seconds."""

    views: int | None = None
    """With --freeze: compute features of this many varied copies of each image (see --augment),
    not of the image as it is. [1, as it is]"""

    normalise: str = "auto"
    """Make this the network's first layer: none, imagenet, or means and deviations of pixels in
    [0, 1], such as 0.5,0.5,0.5/0.25,0.25,0.25. auto is what a network of timm was
    trained with, and none for all others."""


@Parameter(name="*", group="Study")
@dataclass(frozen=True)
class StudyOptions:
    """What an evaluation finds out beside its tables."""

    study: Path | None = None
    """Write all figures, and the answer for each image, to this JSON file; nescio compare and
    later reports read it."""

    force: Annotated[bool, Parameter(negative="")] = False
    """Overwrite the study and the report if they exist."""

    unknown_classes: Literal["error", "unfamiliar"] = "error"
    """What images of classes that the model does not know are: an error, or a set to refuse."""

    corruptions: str | None = None
    """Judge test images in five severities of corruption, too: all, or names with commas, such as
    blur,jpeg."""

    corruption_images: int = 1000
    """How many test images each severity is judged on."""

    resamples: int = 1000
    """Of the bootstrap behind each interval that is not exact."""
