"""The stage `export`: a trained model as one ONNX graph, waveform in, score out, that needs nothing of this package.

    waveform (clips, samples) float32 ─► features ─► back ends ─► fusion ─► score (clips,) float64
    section  (clips,) int64, only where the model has a back end or a scale for each of several

Before it is written the graph is checked and simplified, and its scores are compared with those of the model.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.core.files import atomic, check_file_place
from asd.core.runtime import imported
from asd.deploy.stream import Samples
from asd.detectors.base import Detector
from asd.library import Model, load
from asd.options import join_names
from asd.runs import RunDirectory
from asd.scoring.references import section_number
from asd.settings.stages import Export
from asd.types import AsdError, Clip, Split, one_of

TOLERANCE = 1e-4  # how far graph and model may be apart, see `difference`
_LARGEST_BYTES = 2**31 - 1  # of a protobuf message


@dataclass(frozen=True, slots=True)
class Exported:
    """A graph that was written, and its largest `difference` from the model over a few made-up sounds."""

    path: Path
    n_bytes: int
    metadata: dict[str, str]
    difference: float


def export(config: Export) -> Exported:
    """Writes the model of a run and machine as an ONNX graph."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        imported(name, f"{name} is not installed, which export needs; run pip install 'asd[export]'")
    check_file_place(config.out)
    model = load(config.runs / config.name, config.machine, seed=config.seed, device="cpu")
    scorer, options = one_of(config.scorer or model.scorers[0], model.scorers, "scorer"), model.options
    metadata = _metadata(model, RunDirectory.of(config.runs, config.name, options.machine[0], options.seeds[0]), scorer)
    content = as_onnx(model.detector, scorer, metadata)
    apart = _largest_difference(content, model, scorer)
    if not apart <= TOLERANCE:
        raise AsdError(
            f"the graph of scorer={scorer} differs from its model by {apart:.1e} of a score, more than "
            f"{TOLERANCE:g}, so it is not written; export another scorer"
        )
    with atomic(config.out) as temporary:
        temporary.write_bytes(content)
    return Exported(config.out, len(content), metadata, apart)


def summary(config: Export, result: Exported) -> str:
    """Where the graph is, what it says of itself, and how to use it."""
    about, rate_hz = "\n".join(f"  {k}: {v}" for k, v in result.metadata.items()), result.metadata["sample_rate_hz"]
    return (
        f"written: {result.path}, {result.n_bytes / 1e6:.1f} MB, at most {result.difference:.1e} of a score from the "
        f"model\n{about}\nnext: onnxruntime alone scores recordings of {rate_hz} Hz with it, as "
        f"docs/examples/score_onnx.py of the source does: python score_onnx.py {shlex.quote(str(result.path))} a.wav"
    )


def as_onnx(detector: Detector, scorer: str, metadata: dict[str, str]) -> bytes:
    """A fitted detector as a checked and simplified ONNX model, the content of a file."""
    import onnx
    import onnx_ir as ir

    from asd.deploy.graph.detectors import clip_scores, knows_sections
    from asd.deploy.graph.formula import IR_VERSION, Graph

    g, n_microphones = Graph(), detector.context.front_end.n_microphones
    axes = ir.Shape(["clips", "samples"] if n_microphones == 1 else ["clips", n_microphones, "samples"])
    recorded = g.builder.input("waveform", ir.DataType.FLOAT, axes)
    section = g.builder.input("section", ir.DataType.INT64, ["clips"]) if knows_sections(detector) else None
    with g.arithmetic():
        recorded = g.op.Unsqueeze(recorded, [1]) if n_microphones == 1 else recorded
        score = clip_scores(g, detector, scorer, recorded, section)
    score.type, score.shape = ir.TensorType(ir.DataType.DOUBLE), ir.Shape(["clips"])
    g.builder.add_output(score, "score")
    model = ir.Model(g.builder.graph, ir_version=IR_VERSION, producer_name="asd")
    model.metadata_props.update(metadata)
    proto = ir.to_proto(_simplified(model))
    if (n_bytes := proto.ByteSize()) > _LARGEST_BYTES:
        raise AsdError(
            f"the graph takes {n_bytes} bytes, and a file of ONNX {_LARGEST_BYTES} at most; train on fewer clips"
        )
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


def _simplified(model: Any) -> Any:
    """Each value once and nothing unused; rules that rewrite arithmetic are left out, as they cost digits."""
    import onnx_ir as ir
    from onnx_ir.passes import common

    logging.getLogger("onnx_ir").setLevel(logging.WARNING)  # it names every value that it joins
    ir.passes.Sequential(common.RemoveUnusedNodesPass(), common.NameFixPass())(model)
    kept = ir.from_proto(ir.to_proto(model))  # without what only removed branches used
    passes = (
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )
    return ir.passes.Sequential(*passes)(kept).model


def session_of(content: bytes | Path) -> Any:
    """An onnxruntime session of a graph (a file or its content), on one core of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def graph_score(session: Any, waveform: Samples, section: int = 0) -> float:
    """The score of a waveform, (samples,) or (microphones, samples) with full scale 1, by a graph of `session_of`."""
    given = {"waveform": waveform[None].astype(np.float32), "section": np.array([section], np.int64)}
    names = [each.name for each in session.get_inputs()]
    return float(session.run(None, {name: given[name] for name in names})[0][0])


def _metadata(model: Model, run: RunDirectory, scorer: str) -> dict[str, str]:
    """What the graph says of itself: plain text by name."""
    options, front_end = model.options, model.detector.context.front_end
    return {
        "scorer": scorer,
        "threshold": repr(model.thresholds[scorer].value),
        "sample_rate_hz": str(options.sample_rate_hz),
        "least_samples": str(options.detector_settings.least_samples()),
        "channel": str(front_end.channel or 0),
        "microphones": str(front_end.n_microphones),
        "machine": run.machine,
        "sections": join_names(model.sections),
        "section_numbers": ",".join(str(section_number(name)) for name in model.sections),
        "detector": options.detector,
        "run": str(run.path),
        "fingerprint": run.held_fingerprint() or "",
        "asd_version": version("asd"),
    }


def difference(found: npt.ArrayLike, expected: npt.ArrayLike, spread: float) -> float:
    """The largest difference of scores, relative to the score or, where that is more, to the spread of normal scores.

    A score is a logarithm or a deviation from normal, and crosses 0 among normal clips. A share of the score itself
    means nothing there; a share of the spread (`spread_of`) says what the difference can do to a decision or to an
    order. Both scores (clips,) are of the same clips, such as a graph's and its model's.
    """
    expected = np.asarray(expected, np.float64)
    apart = np.abs(np.asarray(found, np.float64) - expected) / np.maximum(np.abs(expected), spread)
    return float(np.max(apart))  # NaN where one is


def spread_of(model: Model, scorer: str) -> float:
    """Median absolute deviation of training scores from their median, so that odd clips among them loosen no check."""
    scores = model.normal.scores[scorer]
    return float(np.median(np.abs(scores - np.median(scores))))


def _largest_difference(content: bytes, model: Model, scorer: str) -> float:
    """Between graph and model over a few made-up sounds."""
    session, options = session_of(content), model.options
    asks = any(each.name == "section" for each in session.get_inputs())
    found, expected = [], []
    n_microphones = model.detector.context.front_end.n_microphones
    for waveform in _sounds(options.detector_settings.least_samples(), options.sample_rate_hz, n_microphones):
        for section in model.sections if asks else model.sections[:1]:
            clip = Clip(Path("sound.wav"), options.machine[0], section, Split.TEST)
            scores = model.detector.score_waveforms([waveform], options.sample_rate_hz, [clip])
            expected.append(scores[scorer][0])
            found.append(graph_score(session, waveform, section_number(section)))
    return difference(found, expected, spread_of(model, scorer))


def _sounds(least_samples: int, sample_rate_hz: int, n_microphones: int) -> Iterator[Samples]:
    """Hum in noise of several lengths and levels, and silence; (samples,), or (microphones, samples) of several."""
    rng, several = np.random.default_rng(0), () if n_microphones == 1 else (n_microphones,)
    for n_samples, level in ((least_samples, 0.1), (3 * least_samples + 1, 0.5), (sample_rate_hz, 1e-3)):
        hum = np.sin(2 * np.pi * 120 / sample_rate_hz * np.arange(n_samples))
        yield (level * (hum + rng.normal(0.0, 0.3, (*several, n_samples)))).astype(np.float32)
    yield np.zeros((*several, max(least_samples, sample_rate_hz)), np.float32)
