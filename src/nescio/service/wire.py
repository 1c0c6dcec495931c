"""What goes over the wire: JSON in, JSON out, as OpenAPI tells it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, WithJsonSchema

LARGEST_SEED = 2**63 - 1

MOST_IMAGES = 10_000
"""In JSON, whatever the limit: more of them are not even built before they are counted."""

GREY = {"type": "array", "minItems": 1, "items": {"type": "number", "minimum": 0, "maximum": 255}}
PIXEL = {
    "type": "array",
    "minItems": 3,
    "maxItems": 3,
    "items": {"type": "number", "minimum": 0, "maximum": 255},
}
PIXELS = {
    "description": "H rows of W numbers, or of W triples of red, green and blue: whole numbers "
    "from 0 to 255, or, where any number has a fraction, all in [0, 1].",
    "anyOf": [
        {"type": "array", "minItems": 1, "items": GREY},
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "minItems": 1, "items": PIXEL},
        },
    ],
    "examples": [[[0, 255, 0], [0, 255, 0], [0, 255, 0]]],
}


class Parameters(BaseModel):
    """How to answer; each has a default."""

    model_config = ConfigDict(extra="forbid")

    samples: Annotated[
        int | None, Field(ge=1, description="Networks to draw, at most.", examples=[100])
    ] = None
    seed: Annotated[
        int | None,
        Field(
            ge=0,
            le=LARGEST_SEED,
            description="Of the networks: the same seed, the same answer. The model's own "
            "where none is given.",
        ),
    ] = None
    adaptive: Annotated[
        bool | None,
        Field(description="Draw no more networks than the decision needs, as is done by default."),
    ] = None
    rule: Annotated[
        str | None,
        Field(
            max_length=64,
            description="calibrated, none, or QUANTILE:THRESHOLD. The model's own where none is "
            "given.",
            examples=["median:0.2"],
        ),
    ] = None
    model: Annotated[
        str | None, Field(max_length=256, description="The name of a model; else the default.")
    ] = None
    detail: Annotated[
        bool | None,
        Field(description="Draw all networks, and give what each of them says."),
    ] = None


class ImageIn(BaseModel):
    """One image: ``pixels`` or ``base64``, and perhaps a name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pixels: Annotated[Any, WithJsonSchema(PIXELS)] = None
    base64: Annotated[
        str | None, Field(description="An image file in base64; a data: URL is taken, too.")
    ] = None
    name: Annotated[str | None, Field(max_length=256)] = None


class PredictIn(Parameters):
    """Images in JSON."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"images": [{"name": "bar", "pixels": [[0, 255, 0], [0, 255, 0]]}]}]
        },
    )

    images: Annotated[list[ImageIn], FailFast(), Field(min_length=1, max_length=MOST_IMAGES)]


class Input(BaseModel):
    """What the network saw."""

    width: int
    height: int
    channels: int
    pixels: Annotated[str, Field(description="The bytes (K, H, W) in base64.")]


class DetailOut(BaseModel):
    """What is told of one image besides."""

    sampled: Annotated[
        list[list[float]], Field(description="For each network the probability of each class.")
    ]
    settled_after: Annotated[
        int, Field(description="How many networks the decision would have needed.")
    ]
    input: Input
    doubt: float | None
    unfamiliarity: float | None
    top: Annotated[str, Field(description="The class that the calibrated rule would answer with.")]


class Answered(BaseModel):
    """The decision for one image."""

    image: Annotated[
        str, Field(description="Its file name or given name, or else its number from 0.")
    ]
    label: Annotated[str | None, Field(description="null where there is no answer.")]
    accepted: bool
    reason: Literal["ambiguous", "unfamiliar"] | None
    proposed: list[str]
    nearest: str | None
    stage: str | None
    probability: dict[str, float]
    median: dict[str, float]
    scores: dict[str, float | None]
    samples: Annotated[int, Field(description="How many networks were drawn.")]
    detail: DetailOut | None = None


class Unread(BaseModel):
    """An image that could not be read."""

    image: str
    error: str


class PredictOut(BaseModel):
    """The answers, in the order of the images."""

    model: str
    notes: Annotated[
        list[str], Field(description="Why the rule's promises do not cover this answer, if so.")
    ]
    predictions: list[Answered | Unread]


class ModelsOut(BaseModel):
    """The models that are served."""

    default: str
    models: list[str]


class LimitsOut(BaseModel):
    """What a request may ask for."""

    body_bytes: int
    pixels: int
    images: int
    samples: int
    seconds: float
    formats: list[str]


class PromiseOut(BaseModel):
    """What a model could promise, and at which thresholds."""

    max_risk: Annotated[
        float, Field(description="The largest error rate among familiar images that are answered.")
    ]
    confidence: float
    max_refusal: Annotated[
        float, Field(description="The share of familiar images that may be refused as unfamiliar.")
    ]
    unfamiliar: float | Literal["all"]
    doubtful: Annotated[
        float | Literal["all", "none"],
        Field(description="none where no threshold keeps the promise, so that none is answered."),
    ]
    accepted: Annotated[int, Field(description="Calibration images behind the promise.")]
    errors: Annotated[int, Field(description="How many of them were answered wrongly.")]
    coverage: Annotated[float, Field(description="The share of calibration images answered.")]
    images: Annotated[int, Field(description="How many calibration images there were.")]


class ModelOut(BaseModel):
    """A model: what it knows and how it decides."""

    name: str
    classes: list[str]
    preprocessing: dict[str, Any]
    network: str
    posterior: str
    rule: dict[str, Any]
    samples: Annotated[int, Field(description="Networks drawn where a request names no number.")]
    limits: LimitsOut
    trained_on: str
    training_images: int
    reference: Annotated[
        list[float] | None,
        Field(description="Quantiles of the unfamiliarity of calibration images, rising."),
    ]
    promises: Annotated[
        list[PromiseOut] | None,
        Field(description="Error rates that could be promised; each is a promise by itself."),
    ]


class State(BaseModel):
    """How the server is."""

    status: str


class ProblemOut(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
