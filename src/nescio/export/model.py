"""The whole graph: from images to decisions, with what a reader of the file needs to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from nescio.classifier import SAMPLES, Classifier
from nescio.classifier.fingerprint import posterior_digest
from nescio.errors import UsageError
from nescio.export.familiar import evidence
from nescio.export.graph import IR_VERSION, OPSET, Graph, Value
from nescio.export.images import pixels
from nescio.export.networks import Draw, cut_for_export, sampled_part, shared_part
from nescio.export.rules import Sampled, Scores, Verdict, any_of, top, verdict
from nescio.export.search import count_below
from nescio.prediction import check_samples
from nescio.randomness import Stream, generator
from nescio.refusal import CalibratedRule, Reason, Rule
from nescio.refusal.wording import assumption

MOST_BYTES = 2**31 - 2**20
"""An ONNX file is one protobuf message, which ends at 2 GiB; some of it is not weights."""

REASONS = ("", Reason.AMBIGUOUS.value, Reason.UNFAMILIAR.value)
"""What the numbers in the output ``reason`` mean."""


def choose_draw(
    classifier: Classifier, rule: Rule, samples: int | None = None, seed: int | None = None
) -> Draw:
    """The networks that were asked for, or those that the rule was calibrated with.

    Raises:
        UsageError: There would be none.
    """
    bound = rule.calibrated_on if isinstance(rule, CalibratedRule) else None
    if samples is None:
        samples = SAMPLES if bound is None else bound.samples
    if seed is None:
        seed = classifier.record.seed if bound is None else bound.seed
    check_samples(samples)
    return Draw(samples, seed)


def build_model(classifier: Classifier, rule: Rule, draw: Draw) -> onnx.ModelProto:
    """The ONNX model that decides as ``classifier`` does by ``rule``.

    Raises:
        UsageError: It would be too large for one file.
        RuleError: The rule cannot be exported, or the model lacks what it needs.
        ArchitectureError: The network cannot be exported.
    """
    check_size(classifier, draw)
    graph = Graph()
    images = Value(graph, "images")
    results = _decide(graph, images, classifier, rule, draw)
    channels = classifier.preprocessing.channels
    shape = ["n", "height", "width", channels]
    outputs = []
    for name, (value, kind, rest) in results.items():
        graph.nodes.append(helper.make_node("Identity", [value.name], [name]))
        outputs.append(helper.make_tensor_value_info(name, kind, ["n", *rest]))
    inner = helper.make_graph(
        graph.nodes,
        "nescio",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        outputs,
        graph.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        inner, opset_imports=opsets, ir_version=IR_VERSION, producer_name="nescio"
    )
    helper.set_model_props(model, _properties(classifier, rule, draw))
    return model


def serialise(model: onnx.ModelProto) -> bytes:
    """The content of the file, once the model is known to be valid.

    Raises:
        UsageError: It is larger than one file can be.
    """
    size = model.ByteSize()
    if size > MOST_BYTES:
        raise UsageError(
            f"the model takes {size / 2**30:.1f} GiB, and one ONNX file holds 2 GiB; "
            "lower --samples"
        )
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def start(content: bytes, threads: int = 0) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        content: See :func:`serialise`.
        threads: That it uses; 0 for as many as there are cores.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone
    # Threads that wait by spinning take the cores from PyTorch's, which run in turn with them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def check_size(classifier: Classifier, draw: Draw) -> None:
    """Refuse what one file cannot hold, before networks are drawn.

    Raises:
        UsageError: ``S`` networks are too large.
    """
    drawn = classifier.guide.sampler()(generator(draw.seed, Stream.PREDICTION))
    random = sum(value.numel() for value in drawn.values())
    size = 4 * random * draw.samples
    if size > MOST_BYTES:
        most = MOST_BYTES // (4 * random)
        mend = f"lower --samples to {most}" if most else "train it with --random head"
        raise UsageError(
            f"{draw.samples} networks of {random:,} random weights take {size / 2**30:.1f} GiB, "
            f"and one ONNX file holds 2 GiB; {mend}"
        )


Result = tuple[Value, int, list[int]]
"""An output, the type of its numbers, and its lengths after the number of images."""


def _decide(
    graph: Graph, images: Value, classifier: Classifier, rule: Rule, draw: Draw
) -> dict[str, Result]:
    x = pixels(graph, images, classifier.preprocessing)
    familiarity = classifier.familiarity if rule.needs_evidence else None
    if rule.needs_evidence:
        classifier.evidence_reader()  # says what is missing, if anything is
    stages = () if familiarity is None else familiarity.stages
    cut = cut_for_export(classifier)
    features, read = shared_part(graph, classifier, cut, x, [stage.name for stage in stages])
    logits = sampled_part(graph, classifier, cut, features, draw)
    sampled = Sampled(graph.op("Softmax", logits, axis=2), _finite(graph, logits), draw.samples)
    known = evidence(graph, stages, read) if stages else None
    found = verdict(graph, rule, sampled, known)
    scores = Scores(graph, sampled.probabilities, draw.samples)
    forced = found.top if stages else _forced(graph, logits, sampled, classifier)
    reason = graph.where(found.unfamiliar, 2, graph.where(found.ambiguous, 1, 0))
    classes = [len(classifier.classes)]
    results: dict[str, Result] = {
        "label": (found.top, TensorProto.INT64, []),
        "accepted": (~(found.ambiguous | found.unfamiliar), TensorProto.BOOL, []),
        "reason": (reason, TensorProto.INT64, []),
        "forced": (forced, TensorProto.INT64, []),
        "proposed": (found.proposed, TensorProto.BOOL, classes),
        "probability": (scores.mean, TensorProto.FLOAT, classes),
        "median": (scores.quantile(0.5), TensorProto.FLOAT, classes),
        "doubt": (found.doubt, TensorProto.FLOAT, []),
        "predictive_entropy": (scores.predictive_entropy(), TensorProto.FLOAT, []),
        "expected_entropy": (scores.expected_entropy(), TensorProto.FLOAT, []),
        "mutual_information": (scores.mutual_information(), TensorProto.FLOAT, []),
    }
    return results | _of_familiarity(graph, classifier, found)


def _of_familiarity(graph: Graph, classifier: Classifier, found: Verdict) -> dict[str, Result]:
    if found.unfamiliarity is None or found.nearest is None or found.stage is None:
        return {}
    results: dict[str, Result] = {
        "unfamiliarity": (found.unfamiliarity, TensorProto.FLOAT, []),
        "nearest": (found.nearest, TensorProto.INT64, []),
        "stage": (found.stage, TensorProto.INT64, []),
    }
    reference = classifier.reference
    if reference is not None:
        below = count_below(graph, reference, found.unfamiliarity).cast(TensorProto.FLOAT)
        total = float(1 + len(reference))
        results["familiarity"] = ((total - below) / total, TensorProto.FLOAT, [])
    return results


def _forced(graph: Graph, logits: Value, sampled: Sampled, classifier: Classifier) -> Value:
    """See :func:`nescio.prediction.forced_labels`."""
    recipe = classifier.recipe
    averaged = sampled.probabilities if recipe.forced == "probability" else logits
    if recipe.forced_samples is not None:
        first = np.array([min(recipe.forced_samples, sampled.samples)], np.int64)
        none = np.zeros(1, np.int64)
        averaged = graph.op("Slice", averaged, none, first, none)
    return top(graph, averaged.reduce("Mean", 0))


def _finite(graph: Graph, logits: Value) -> Value:
    """Whether all outputs for an image are numbers, ``(n,)`` bool."""
    bad = graph.op("IsNaN", logits) | graph.op("IsInf", logits)
    return ~any_of(graph, bad, [0, 2])


def _properties(classifier: Classifier, rule: Rule, draw: Draw) -> Mapping[str, str]:
    """What is told in the file; lists and objects as JSON."""
    unbound = "none; this rule was not calibrated"
    known = classifier.familiarity if rule.needs_evidence else None
    described = rule.describe()
    return {
        "classes": json.dumps(classifier.classes, ensure_ascii=False),
        "stages": json.dumps(() if known is None else known.names),
        "reasons": json.dumps(REASONS),
        "images": f"uint8 (n, height, width, {classifier.preprocessing.channels}) of any size, "
        f"brought to {classifier.preprocessing} in the graph",
        "decoding": json.dumps(classifier.preprocessing.decoding.to_json()),
        "rule": described,
        "rule_json": json.dumps(rule.to_json(), ensure_ascii=False),
        "promise": assumption(rule) if isinstance(rule, CalibratedRule) else unbound,
        "samples": str(draw.samples),
        "seed": str(draw.seed),
        "nescio": version("nescio"),
        "torch": torch.__version__,
        "data": classifier.record.data,
        "data_fingerprint": classifier.record.fingerprint,
        "posterior_fingerprint": posterior_digest(classifier),
    }
