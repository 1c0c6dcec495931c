"""``nescio train``: fit, calibrate, write one model file."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nescio.cli.console import make_reporter, print_error
from nescio.cli.options import (
    CheckpointOptions,
    Common,
    FileOptions,
    GroupOptions,
    ImageOptions,
    NetworkOptions,
    PromiseOptions,
)
from nescio.cli.previewed import print_preview
from nescio.cli.sources import read_as
from nescio.cli.trained import GO_ON, default_out, finish, save_uncalibrated
from nescio.errors import CalibrationError, CalibrationInterrupt, UsageError
from nescio.files import check_output

POSTERIOR, TRAINING = Parameter(group="Posterior"), Parameter(group="Training")
"""Where --help tells an option."""


def train(
    data: str,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    extra_labels: Path | None = None,
    recipe: Literal["default", "article"] = "default",
    posterior: Annotated[str | None, POSTERIOR] = None,
    network: str | None = None,
    effort: Annotated[Literal["quick", "normal", "best"], TRAINING] = "normal",
    epochs: Annotated[int | None, TRAINING] = None,
    batch_size: Annotated[int | None, TRAINING] = None,
    learning_rate: Annotated[float | None, TRAINING] = None,
    prior: Annotated[str | None, POSTERIOR] = None,
    kl_weight: Annotated[float | None, POSTERIOR] = None,
    random: Annotated[str | None, POSTERIOR] = None,
    augment: Annotated[str | None, TRAINING] = None,
    balance: Annotated[Literal["none", "weighted", "sampled"] | None, TRAINING] = None,
    scale: Annotated[Literal["softplus", "exp"] | None, POSTERIOR] = None,
    estimator: Annotated[Literal["auto", "shared", "local", "flipout"] | None, POSTERIOR] = None,
    engine: Annotated[Literal["torch", "pyro"] | None, POSTERIOR] = None,
    compiled: Annotated[bool, TRAINING, Parameter(name="--compile", negative="")] = False,
    rule: str | None = None,
    stages: str | None = None,
    drop_rare: Annotated[bool, Parameter(negative="")] = False,
    split: Path | None = None,
    write_split: Path | None = None,
    backbone: NetworkOptions = NetworkOptions(),  # noqa: B008 - frozen
    images: ImageOptions = ImageOptions(),  # noqa: B008 - frozen
    files: FileOptions = FileOptions(),  # noqa: B008 - frozen
    groups: GroupOptions = GroupOptions(),  # noqa: B008 - frozen
    promises: PromiseOptions = PromiseOptions(),  # noqa: B008 - frozen
    checkpoints: CheckpointOptions = CheckpointOptions(),  # noqa: B008 - frozen
    common: Common = Common(),  # noqa: B008 - frozen
) -> int:
    """Train a Bayesian classifier and write it to one file.

    Several processes train one together when torchrun starts them (needs nescio[distributed]):
    torchrun --nproc-per-node 2 -m nescio train DATA --out MODEL.

    Parameters
    ----------
    data
        A named set, a folder with one subfolder a class, an .npz, an IDX file, WebDataset shards
        such as 'set-{000..003}.tar', or hf:FOLDER of Hugging Face's save_to_disk.
    out
        The model file to write. [the name of DATA with .nescio, such as digits.nescio]
    force
        Overwrite the model, and the file of --write-split, if they exist.
    dry_run
        Train nothing and write no model: read and split the images as training would, and print
        the classes, the parts, and what images are brought to.
    as_json
        With --dry-run: print one JSON object.
    extra_labels
        A CSV file, image,label, of more images to train on, as nescio review saves it. Paths in it
        are absolute, or relative to its folder; labels are classes of DATA. None of
        these images is used to calibrate: promises hold for images like those of DATA.
    recipe
        default: the ELBO as it is, with a calibrated rule. article: the 2018 system as it was.
    network
        mlp, cnn, module:factory for your own (called with shape= and classes=), or timm:NAME
        (pip install 'nescio[timm]'; it begins at random unless --weights are given).
        [default: cnn; article: mlp]
    posterior
        What is kept of the uncertainty in the weights; docs/how-to/posteriors.md compares all.
        mean-field: an independent Normal for each random weight. low-rank:8: weights vary together
        along eight directions, too. ivon: a mean field by variational online Newton. laplace,
        laplace:kron: a Normal from the curvature at the trained weights (needs nescio[laplace]);
        above 4,096 random weights laplace:kron alone.
        swag:20: a Normal from 20 snapshots of further training. dropout:0.2: that share of inputs
        dropped. ensemble:5: five ordinary networks from five seeds. mean-field-ensemble:5: five
        mean fields. hmc:200: networks drawn by NUTS, for at most 2,000 random weights and 2,000
        images. [mean-field]
    effort
        quick: a quarter of the passes; best: four times as many.
    epochs
        Passes over the training images. [default 16, and at least 800 steps; article: 5]
    batch_size
        Images a step. [128]
    learning_rate
        Of Adam. [default: 0.005, one cycle; article: 0.01, constant]
    prior
        normal:1, scaled:1, laplace:1, or per layer such as normal:1,3.*=scaled:1. [normal:1]
    kl_weight
        A deliberate tempering of the KL, recorded in the model; 1 is the ELBO. [1]
    random
        Which weights are random: all, head (the last layer), or patterns such as 3.*,0.bias.
        The rest stays an ordinary network, trained along. [default: head; article: all]
    augment
        Vary the images from pass to pass: shift:PIXELS, rotate:DEGREES, zoom:SHARE, shear:SHARE,
        bend:PIXELS, colour:SHARE and flip, such as shift:2,rotate:10. [default: auto, small
        changes of every kind but colour, mirrored only where that is known to mean the same;
        article: none]
    balance
        For classes of unequal size. weighted: an image of a rare class counts more, so that all
        classes have as much to say. sampled: it is shown more often instead. Promises stay those
        for classes as they come. [none]
    scale
        How posterior scales are kept positive: by softplus, or by exp, which is faster and comes
        nearer to the ELBO's optimum in as many passes. [softplus]
    estimator
        For mean fields. shared: one drawn network a step. flipout, local: one for each image of a
        batch; steadier gradients, dearer steps. [default: auto, local where the head alone is
        random, else shared; article: shared]
    engine
        torch: the same ELBO and gradient, fast. pyro: the defining program. [torch; article: pyro]
    compiled
        Compile the network for training by torch.compile. It takes half a minute to begin; on the
        processors measured (see docs/performance.md) it did not pay. Without a compiler training
        goes on as usual.
    rule
        The rule to put in force: calibrated, none, or QUANTILE:THRESHOLD such as median:0.2.
    stages
        Where the network is read to tell familiar images: image, paths of layers, and output,
        joined by commas. [found by itself]
    drop_rare
        Leave out, and tell of, classes with too few images for each part to get one.
    split
        A CSV file, image,part, that says which image is for train, calibration or test; paths in it
        are relative to DATA. Promises hold for images like those for calibration. [by --seed]
    write_split
        Write the split to such a file, for others to use with --split.
    """
    from nescio.ranks import join_ranks, together
    from nescio.training import ask, find_recipe, fit, preview

    target = out or (Path() if dry_run else default_out(data))  # a dry run writes none
    ranks = join_ranks(common.device)
    with together(ranks):
        if as_json and not dry_run:
            raise UsageError("--json belongs to --dry-run: add it, or leave it out")
        if ranks.rank == 0:
            _check_outputs(None if dry_run else target, write_split, force=force)
        saves = checkpoints.open()
        reading = replace(read_as(files, images), drop_rare=drop_rare)

        changes: dict[str, Any] = {
            "epochs": epochs,
            # Who asks for a number of passes gets that number.
            "minimum_steps": None if epochs is None else 0,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "prior": prior,
            "kl_weight": kl_weight,
            "posterior": posterior,
            "random": random,
            "freeze": backbone.freeze,
            "views": backbone.views,
            "augment": augment,
            "balance": balance,
            "scale": scale,
            "estimator": estimator,
            "engine": engine,
            "rule": rule,
        }
        _check_random(posterior, random)
        chosen = find_recipe(recipe).with_effort(effort)
        chosen = replace(chosen, **{k: v for k, v in changes.items() if v is not None})
    arguments: dict[str, Any] = {
        "extra": extra_labels,
        "recipe": chosen,
        **asdict(promises),
        "stages": None if stages is None else stages.split(","),
        "weights": backbone.weights,
        "normalise": backbone.normalise,
        "reading": reading,
        "split_file": split,
        "write_split_to": write_split,
        **asdict(groups),
        "seed": common.seed or 0,
    }
    reporter = make_reporter(quiet=common.quiet)
    network = network or chosen.network
    if dry_run:
        if ranks.rank == 0:
            found = preview(ask(network, data, **arguments), reporter)
            print_preview(found, as_json=as_json)
        return 0
    arguments |= {
        "samples": common.samples,
        "device": common.device,
        "precision": common.precision,
        "compiled": compiled,
        "checkpoint": saves,
        "resume": checkpoints.resume,
        "ranks": ranks,
        "reporter": reporter,
    }
    try:
        classifier = fit(network, data, **arguments)
    except (CalibrationError, CalibrationInterrupt) as error:
        # The others end well: torchrun would end process 0 before it has saved what there is.
        return 0 if ranks.rank else save_uncalibrated(error, target)
    except KeyboardInterrupt:
        if saves is None:
            raise
        if not ranks.rank:
            print_error(f"training was stopped; {GO_ON.format(folder=saves.folder)}")
        return 130
    if ranks.rank:  # process 0 tells, and writes, for all
        return 0
    return finish(classifier, target, promises, saves, force=force)


def _check_outputs(*outputs: Path | None, force: bool) -> None:
    for output in outputs:
        if output is not None:
            check_output(output, force=force)


def _check_random(posterior: str | None, random: str | None) -> None:
    """A choice of weights that would change nothing must not be taken silently."""
    if posterior is None:
        return
    from nescio.inference import parse_posterior

    choice = parse_posterior(posterior)
    if choice.kind.all_weights and random not in (None, "all"):
        raise UsageError(
            f"every weight of a member of --posterior {choice.name} is its own, so --random must "
            f"be all, or left out, got {random}"
        )
