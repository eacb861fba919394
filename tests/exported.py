"""Exported graphs beside what they were made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

import asd as library
from asd.data.given import from_arrays
from asd.deploy import export as exporting
from asd.deploy.export import graph_score, session_of
from asd.deploy.graph.formula import IR_VERSION, Graph
from asd.types import Split


def assert_close(found: Any, expected: Any, spread: float, name: str = "") -> None:
    """The promise of the stage: within 1e-4 of a score or, for scores near 0, of the spread of training scores."""
    apart = np.abs(np.asarray(found) - np.asarray(expected))
    assert (apart <= 1e-4 * np.maximum(np.abs(expected), spread)).all(), (name, found, expected)


def spread_of(model: library.Model, scorer: str = "ensemble") -> float:
    return float(model.normal.scores[scorer].std())


def check_scorers(detector: str, options: dict[str, Any], lengths: tuple[int, ...], n_clips: int = 14) -> None:
    """Fits a detector to noise, and compares every scorer's graph with it."""
    rng = np.random.default_rng(0)
    normal = [rng.normal(0, 0.1, 16000).astype(np.float32) for _ in range(n_clips)]
    model = library.fit(normal, 16000, detector=detector, options=options, device="cpu")
    clips = [rng.normal(0, 0.1 * (1 + i), n).astype(np.float32) for i, n in enumerate(lengths)]
    expected = model.detector.score(from_arrays(clips, 16000, model.detector.context.front_end, Split.TEST))
    for scorer in model.scorers:
        session = session_of(exporting.as_onnx(model.detector, scorer, {}))
        found = [graph_score(session, clip) for clip in clips]
        assert_close(found, expected[scorer], spread_of(model, scorer))


def run_graph(values: np.ndarray, make: Callable[[Graph, Any], Sequence[Any]]) -> list[np.ndarray]:
    """What a graph of one input makes of it: `make` takes the graph and the input and gives its outputs."""
    return graph_of(values.dtype, values.ndim, make)(values)


def graph_of(
    dtype: Any, n_axes: int, make: Callable[[Graph, Any], Sequence[Any]]
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A graph of one input of any shape, as a function of it."""
    g = Graph()
    kind = ir.DataType.DOUBLE if dtype == np.float64 else ir.DataType.FLOAT
    given = g.builder.input("given", kind, [f"axis{i}" for i in range(n_axes)])
    with g.arithmetic():
        for number, output in enumerate(make(g, given)):
            g.builder.add_output(output, f"output{number}")
    proto = ir.to_proto(ir.Model(g.builder.graph, ir_version=IR_VERSION))
    session = session_of(proto.SerializeToString())
    return lambda values: session.run(None, {"given": values})
