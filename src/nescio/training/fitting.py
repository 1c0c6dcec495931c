"""From data to a classifier: split, fit, calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from nescio.classifier import (
    CONFIDENCE,
    SAMPLES,
    Classifier,
    Promises,
    calibrate_classifier,
)
from nescio.classifier.fingerprint import posterior_digest
from nescio.data import DataLike, ImageSet, Reading
from nescio.devices import choose_device, choose_precision, explain_memory
from nescio.errors import (
    CalibrationError,
    CalibrationInterrupt,
    NescioError,
)
from nescio.familiarity import fit_familiarity
from nescio.inference import (
    Categorical,
    Checkpoints,
    Job,
    Likelihood,
    Prior,
    Recipe,
    facts_of,
    fit_frozen,
    fit_posterior,
)
from nescio.network import NetworkLike
from nescio.prediction import check_samples
from nescio.progress import SILENT, Reporter
from nescio.ranks import SOLO, Ranks, agree, together
from nescio.refusal import parse_rule
from nescio.training.asked import TEST_FRACTION, ExtraLike, ask
from nescio.training.holding import hold_out
from nescio.training.prepare import prepare, split_digest
from nescio.training.recording import as_classifier
from nescio.training.resuming import open_checkpoints, with_checkpoints


def fit(
    network: NetworkLike,
    data: DataLike,
    *,
    extra: ExtraLike | None = None,
    recipe: Recipe | str = "default",
    posterior: str | None = None,
    prior: Prior | None = None,
    likelihood: Likelihood | None = None,
    max_refusal: float | None = None,
    max_risk: float | None = None,
    confidence: float = CONFIDENCE,
    per_class: bool = False,
    stages: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    test: float = TEST_FRACTION,
    weights: str | Path | None = None,
    normalise: str = "auto",
    reading: Reading | None = None,
    split_file: str | Path | None = None,
    write_split_to: str | Path | None = None,
    group_by: str | None = None,
    groups: str | Path | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    device: torch.device | str = "auto",
    precision: str = "auto",
    compiled: bool = False,
    checkpoint: Checkpoints | str | Path | None = None,
    resume: bool = False,
    ranks: Ranks = SOLO,
    reporter: Reporter = SILENT,
) -> Classifier:
    """Turn a network into a Bayesian classifier fitted to ``data``.

    Args:
        network: Any ``torch.nn.Module`` from ``(n, K, H, W)`` in [0, 1] to logits
            ``(n, C)`` (it is copied, not changed); what makes one from ``shape`` ``(K, H, W)``
            and ``classes``, whichever of these it takes: a function, a ``functools.partial`` or a
            class; or ``mlp``, ``cnn``, ``module:factory`` or ``timm:NAME``.
        data: Labelled images, see :data:`nescio.DataLike`: a data set, its name or its path;
            arrays or tensors ``(X, y)``, ``X`` as :meth:`nescio.Classifier.prepare` takes images
            and ``y`` class numbers, names or one-hot; a ``Dataset`` or ``DataLoader`` of PyTorch,
            which is read once, in the order of its set, so random transformations are drawn once
            (a recipe's ``augment`` draws anew in each pass). Arrays keep their size.
        extra: More images to train on, labelled with the classes of ``data``: a set, ``(X, y)`` or
            another of :data:`nescio.DataLike`; or the CSV file that names them
            (:func:`nescio.data.read_labels`). None of them is used to calibrate, so promises hold
            for images like those of ``data``.
        recipe: ``default``, ``article``, or one of your own.
        posterior: The kind of posterior instead of the recipe's: ``mean-field``,
            ``low-rank:RANK``, ``ensemble:MEMBERS``, ``mean-field-ensemble:MEMBERS``,
            ``dropout:SHARE``, ``laplace``, ``laplace:kron``, ``swag:SNAPSHOTS``, ``ivon`` or
            ``hmc:NETWORKS``; see :mod:`nescio.inference.choice`.
        prior: Instead of the one that the recipe names.
        likelihood: Instead of the categorical one.
        max_refusal: The share of familiar images that the calibrated rule may refuse: by
            both gates together, or by the familiarity gate where a risk is promised; ``None``
            for 1 %, or what few calibration images can promise
            (:meth:`nescio.classifier.Promises.budget`).
        max_risk: The error rate that is promised among accepted familiar images; ``None``
            for no promise.
        confidence: With which it is promised.
        per_class: Whether both are promised for each class.
        stages: Where the network is read for familiarity: ``image``, paths of layers, and
            ``output``; ``None`` finds them.
        image_size: Bring images to this many pixels a side, or to ``(H, W)``. A network of timm
            takes colour images, by default of the size that it was made for.
        test: The share of all images to leave out for ``evaluate``, where the data have no test
            split of their own; 0 to learn from all.
        weights: A file with weights for the network to begin with, see
            :func:`nescio.network.load_weights`. Their last layer may be for other classes.
        normalise: What is taken off the pixels, and what they are divided by, as the network's
            first layer: ``none``, ``imagenet``, ``M1,M2,M3/S1,S2,S3``, or ``auto``: what a
            network of timm was trained with, and for others nothing.
        reading: What else is asked of ``data`` that is a name or a path, see
            :class:`nescio.data.Reading`.
        split_file: A CSV file that says which image is for training, calibration or test, see
            :func:`nescio.data.read_split`; ``None`` to split by ``seed``.
        write_split_to: Write the split to such a file.
        group_by: A regular expression that finds in an image's name which group it belongs to, such
            as the film that it is a frame of, see :class:`nescio.data.Grouping`. Images of one
            group stay in one part of the split, and what is guaranteed holds for images of new
            groups. Data may also bring :attr:`nescio.data.ImageSet.groups` themselves.
        groups: Instead, a CSV file, ``image,group``.
        samples: How many networks are drawn for calibration.
        seed: Of the splits, the fit and the predictions.
        device: ``auto``, ``cpu``, ``cuda``, ``mps`` or a device.
        precision: ``float32``, ``bfloat16``, or ``auto`` for the latter where the device
            has matrix units for it; of training and of predictions.
        compiled: Whether to compile the network for training by :func:`torch.compile`.
        checkpoint: A folder to write the state of training to after every pass, see
            :class:`nescio.inference.Checkpoints`.
        resume: Go on from what is in that folder: training ends as it would have without a stop,
            to the bit, on the same machine.
        ranks: The processes that fit together, each with the same arguments, see
            :func:`nescio.ranks.join_ranks`; each gets the same classifier.
        reporter: Told of progress.

    Returns:
        The classifier, with the recipe's rule in force.

    Raises:
        NescioError: See :mod:`nescio.errors`; the message names the thing and the mend.
        CalibrationError: What comes after training failed; it carries what was fitted.
        CheckpointError: Checkpoints are in the way, damaged, or of something else.
        DistributedError: Processes were given different things, or one of them is lost.
        KeyboardInterrupt: Ctrl-C within the first pass. Later it ends training with the
            last complete pass, and ``record.stopped`` says ``interrupted``.
        CalibrationInterrupt: Ctrl-C after training; it carries what was fitted.
    """
    reporter = reporter if ranks.rank == 0 else SILENT
    with ExitStack() as held:
        with together(ranks):
            asked = ask(
                network,
                data,
                extra=extra,
                recipe=recipe,
                posterior=posterior,
                max_refusal=max_refusal,
                max_risk=max_risk,
                confidence=confidence,
                per_class=per_class,
                stages=stages,
                image_size=image_size,
                test=test,
                weights=weights,
                normalise=normalise,
                reading=reading,
                split_file=split_file,
                write_split_to=None if ranks.rank else write_split_to,
                group_by=group_by,
                groups=groups,
                seed=seed,
            )
            check_samples(samples)
            kept = open_checkpoints(checkpoint, resume=resume)
            if kept is not None and ranks.rank == 0:
                held.enter_context(kept.claim())
            place = choose_device(device) if ranks.size == 1 else ranks.place
            ready = prepare(asked, reporter)
            train, apart = ready.splits.train, None
            if ready.calibrates and not ready.recipe.freeze:
                train, apart = hold_out(train, seed)
            job = Job(
                ready.module,
                train,
                ready.recipe,
                prior=prior,
                likelihood=likelihood or Categorical(),
                seed=seed,
                device=place,
                precision=choose_precision(precision, place),
                compiled=compiled,
                watch=ready.splits.calibration if ready.calibrates else None,
                again=ready.source.again(ready.spec),
                reporter=reporter,
                ranks=ranks,
            )
            facts = facts_of(job, {"data": ready.fingerprint, "split": split_digest(ready.splits)})
        agree(ranks, facts)
        if kept is not None:
            job = with_checkpoints(job, kept, facts, held)
        fitted = fit_frozen(job) if job.recipe.freeze else fit_posterior(job)
        classifier = as_classifier(ready, fitted, asked, prior, precision)
        agree(ranks, {"posterior after training": posterior_digest(classifier)})
        if ready.calibrates:
            classifier = _calibrate(
                classifier,
                (train, apart, ready.splits.calibration),
                asked.promises,
                stages=stages,
                samples=samples,
                reporter=reporter,
                ranks=ranks,
            )
        return replace(classifier, rule=parse_rule(job.recipe.rule, classifier.calibrated))


def _calibrate(
    classifier: Classifier,
    parts: tuple[ImageSet, ImageSet | None, ImageSet],
    promises: Promises,
    *,
    stages: Sequence[str] | None,
    samples: int,
    reporter: Reporter,
    ranks: Ranks,
) -> Classifier:
    """What comes after training; where it fails, the error carries what was fitted.

    The parts are what was trained on, what was held out of it, and what is for calibration.
    """
    train, apart, calibration = parts
    try:
        with explain_memory(
            "fitting the familiarity model", "lower --image-size, or name fewer --stages"
        ):
            familiarity = fit_familiarity(
                classifier.network,
                classifier.guide.center(),
                train,
                apart,
                classes=len(classifier.classes),
                stages=stages,
                precision=choose_precision(classifier.precision, classifier.device),
                reporter=reporter,
                ranks=ranks,
            )
        classifier = replace(classifier, familiarity=familiarity)
        with explain_memory("calibrating", "lower --samples or --image-size"):
            return calibrate_classifier(
                classifier,
                calibration,
                promises,
                samples=samples,
                reporter=reporter,
                ranks=ranks,
            )
    # Features that are numbers can still be too wild for linear algebra.
    except (NescioError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        cause = " ".join(str(error).split())
        raise CalibrationError(f"calibration failed after training: {cause}", classifier) from error
    except KeyboardInterrupt as interrupt:
        raise CalibrationInterrupt("calibration was stopped", classifier) from interrupt
