"""Back ends as graphs: vectors (clips, dims) to scores (clips,), with the bank as an initializer.

As in `scoring.neighbours`, products propose the nearest rows, whose distances are then measured again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from asd.deploy.graph.formula import Graph, Value
from asd.scoring.backends import ALL, Backend, PerSectionScorer
from asd.scoring.gaussian import Mahalanobis, Whitening
from asd.scoring.nearest import Nearest, NeighbourBackend, RelativeNearest
from asd.scoring.references import FloatArray, Metric, to_euclidean
from asd.scoring.variants import Bandwise, DomainNearest, Mixture, NearestOfMade, SelectiveMahalanobis
from asd.types import AsdError


def section_scores(
    g: Graph, scorer: PerSectionScorer, vectors: Value, section: Value | None, *, standardise: bool
) -> Value:
    """Scores as `PerSectionScorer.score` gives them, or (standardise) its `z`: (clips, dims) -> (clips,).

    The section (clips,) of each clip is None where the scorer has one part.
    """
    scores = {}
    for name, part in scorer.parts.items():
        values, scale = back_end(g, part, vectors), part.normalizer
        scores[name] = (values - scale.mean) / scale.deviation if standardise else values
    if section is None:
        (only,) = scores.values()
        return only
    chosen = scores[ALL] if ALL in scores else g.op.Min(*scores.values())  # of a section never trained on
    for name, values in scores.items():
        chosen = g.op.Where(g.op.Equal(section, name), values, chosen)
    return chosen


def back_end(g: Graph, backend: Backend, vectors: Value) -> Value:
    """Scores of a fitted back end: (clips, dims) -> (clips,)."""
    formula = _FORMULAS.get(type(backend))
    if formula is None:
        raise AsdError(
            f"the back end {type(backend).__name__} has no formula in the graph; export a run with backend=knn_relative"
        )
    return formula(g, backend, vectors)


def _whitened(g: Graph, whitening: Whitening, vectors: Value) -> Value:
    """`Whitening.__call__`: (clips, dims) -> (clips, dims)."""
    scaled = vectors / g.constant(whitening.scale)
    axes, gains, rest = whitening.axes, whitening.gains, whitening.rest.item()
    if axes.shape[0] == axes.shape[1]:
        return g.op.MatMul(scaled, g.constant(axes * gains))
    if not axes.size:
        return scaled * rest
    along = g.op.MatMul(scaled, g.constant(axes * (gains - rest)))
    return scaled * rest + g.op.MatMul(along, g.constant(axes.T))


def _squared_distances(g: Graph, vectors: Value, points: Value) -> Value:
    """All squared Euclidean distances by products: (clips, dims), (points, dims) -> (clips, points)."""
    products = g.op.MatMul(vectors, g.op.Transpose(points, perm=[1, 0]))
    squares = g.op.ReduceSumSquare(points, [1], keepdims=0)
    return g.op.Max(g.op.ReduceSumSquare(vectors, [1]) - 2.0 * products + squares, 0.0)


def _nearest(
    g: Graph, bank: FloatArray, vectors: Value, k: int, metric: Metric, weights: FloatArray | None = None
) -> Value:
    """Distances of clips to their nearest rows of a bank, (clips, k)."""
    points = to_euclidean(bank, metric)
    centre = points.mean(0)  # products of vectors far from 0 would cancel
    there = g.constant(points - centre)
    here = (_directions(g, vectors) if metric == "cosine" else vectors) - g.constant(centre)
    squares = g.constant(np.square(np.ones(len(points)) if weights is None else weights))
    proposed = _squared_distances(g, here, there) * squares
    _, rows = g.op.TopK(proposed, g.constant([min(k, len(points))]), largest=0, _outputs=2)
    apart = g.taken(there, 0, rows) - g.op.Unsqueeze(here, [1])
    measured = g.op.ReduceSumSquare(apart, [2], keepdims=0) * g.taken(squares, 0, rows)
    return g.op.Min(0.5 * measured, 2.0) if metric == "cosine" else g.op.Sqrt(measured)


def _directions(g: Graph, vectors: Value) -> Value:
    """`references.to_euclidean` of cosine distances: (clips, dims) -> (clips, dims + 1)."""
    norms = g.op.Sqrt(g.total(g.square(vectors), 1))
    is_zero = g.real(g.op.Equal(norms, 0.0))
    return g.op.Concat(vectors / (norms + is_zero), is_zero, axis=1)


def _mean_distance(g: Graph, backend: NeighbourBackend, bank: FloatArray, vectors: Value) -> Value:
    return g.mean(_nearest(g, bank, vectors, backend.neighbours, backend.metric), 1, keepdims=False)


def _relative_nearest(g: Graph, backend: RelativeNearest, vectors: Value) -> Value:
    white, scales = _whitened(g, backend.whitening, vectors), backend.log_scales
    weighted = _nearest(g, backend.points, white, 1, backend.metric, np.exp(scales.min() - scales))
    logarithms = g.op.Log(g.op.Squeeze(weighted, [1])) - float(scales.min())
    return g.op.Max(logarithms, backend.least.item())


def _of_domains(g: Graph, backend: DomainNearest, vectors: Value) -> Value:
    masks = [mask for mask in (~backend.is_target, backend.is_target) if mask.any()]
    each = zip(masks, backend.locations, backend.scales, strict=True)
    return g.op.Min(
        *(
            (_mean_distance(g, backend, backend.points[mask], vectors) - float(location)) / float(scale)
            for mask, location, scale in each
        )
    )


def _bandwise(g: Graph, backend: Bandwise, vectors: Value) -> Value:
    scaled = vectors / g.constant(backend.scale)
    dims = backend.points.shape[1]
    blocks = np.array_split(np.arange(dims), min(backend.bands, dims))
    found = [_mean_distance(g, backend, backend.points[:, b], g.taken(scaled, 1, b)) for b in blocks]
    return g.average(found)


def _mahalanobis(g: Graph, backend: Mahalanobis, vectors: Value) -> Value:
    squared = _squared_distances(g, _whitened(g, backend.whitening, vectors), g.constant(backend.centres))
    distances = squared / g.constant(backend.uncertainty)
    return g.op.ReduceMin(distances, [1], keepdims=0) / float(backend.centres.shape[1])


def _mixture(g: Graph, backend: Mixture, vectors: Value) -> Value:
    """Negative log-likelihood; `precisions` are triangles U with U U^T the inverse covariance."""
    scaled, dims = vectors / g.constant(backend.scale), len(backend.scale)
    logarithms = []
    for weight, mean, triangle in zip(backend.weights, backend.means, backend.precisions, strict=True):
        white = g.op.MatMul(scaled - g.constant(mean), g.constant(triangle))
        level = math.log(weight) + np.log(np.diag(triangle)).sum() - 0.5 * dims * math.log(2 * math.pi)
        logarithms.append(float(level) - 0.5 * g.total(g.square(white), 1))
    return g.op.ReduceLogSumExp(g.op.Concat(*logarithms, axis=1), [1], keepdims=0) / float(-dims)


_FORMULAS: dict[type[Backend], Callable[[Graph, Any, Value], Value]] = {
    RelativeNearest: _relative_nearest,
    Nearest: lambda g, backend, vectors: _mean_distance(g, backend, backend.points, vectors),
    NearestOfMade: lambda g, backend, vectors: _mean_distance(g, backend, backend.points, vectors),
    DomainNearest: _of_domains,
    Bandwise: _bandwise,
    Mahalanobis: _mahalanobis,
    SelectiveMahalanobis: lambda g, backend, vectors: g.op.Min(
        *(_mahalanobis(g, each, vectors) for each in backend.parts)
    ),
    Mixture: _mixture,
}
