"""Fitted detectors as graphs: recordings (clips, microphones, samples) to one score per clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from asd.core.networks.autoencoder import inverse
from asd.deploy.graph.encoders import embedding_parts, layers
from asd.deploy.graph.features import clip_statistics, log_mel
from asd.deploy.graph.formula import Graph, Value
from asd.deploy.graph.microphones import less_far, one_waveform
from asd.deploy.graph.scoring import section_scores
from asd.detectors.auto import Auto
from asd.detectors.autoencoder import Autoencoder
from asd.detectors.base import Detector
from asd.detectors.embedding import Embedding
from asd.detectors.statistic_groups import Part, band_slice
from asd.detectors.statistics import Band, Statistics
from asd.detectors.windowed import Windowed
from asd.features.logmel import LogMel
from asd.scoring.backends import PerSectionScorer
from asd.scoring.references import section_number
from asd.types import AsdError


def clip_scores(g: Graph, detector: Detector, scorer: str, recorded: Value, section: Value | None) -> Value:
    """Scores of a fitted detector: (clips, microphones, samples) float32 -> (clips,) float64.

    The section (clips,) of each clip is None where the detector has only one.
    """
    formula = _FORMULAS.get(type(detector))
    if formula is None:
        raise AsdError(
            f"a {type(detector).__name__} detector cannot be exported; there are formulas for statistics, auto, "
            f"autoencoder and embedding"
        )
    return formula(g, detector, scorer, recorded, section)


def knows_sections(detector: Detector) -> bool:
    """Whether a score depends on the section of its clip: there is a back end or a scale for each of several."""
    if isinstance(detector, Windowed):
        return any(detector.scales.values()) or knows_sections(detector.detector)
    if isinstance(detector, Auto):
        return any(map(knows_sections, detector.members.values()))
    return any(len(scorer.parts) > 1 for scorer in _section_scorers(detector))


def _section_scorers(detector: Detector) -> Iterable[PerSectionScorer]:
    if isinstance(detector, Statistics):
        return detector.fitted.values()
    if isinstance(detector, Embedding):
        return [scorer for scorers in detector.fitted.values() for scorer in scorers]
    return detector.neighbours.values() if isinstance(detector, Autoencoder) else ()


def _statistics(g: Graph, detector: Statistics, scorer: str, recorded: Value, section: Value | None) -> Value:
    front_end, vectors = detector.context.front_end, {}
    views = less_far(g, front_end, recorded, lambda waveforms: clip_statistics(g, detector.extract, waveforms))
    for view, x in views.items():
        if view in detector.nuisances:
            axes = g.constant(detector.nuisances[view])
            along = g.op.MatMul(x, g.op.Transpose(axes, perm=[1, 0]))
            x = x - g.op.MatMul(along, axes)
        vectors[view] = x / g.constant(detector.spreads[view])
    dims = {view: len(spread) for view, spread in detector.spreads.items()}
    wanted = detector.groups if scorer == "ensemble" else {scorer: detector.groups[scorer]}

    def part_z(part: Part) -> Value:
        found = [
            section_scores(g, detector.fitted[band], _columns(g, band, vectors, dims), section, standardise=True)
            for band in ((part, number) for number in range(part.n_bands))
        ]
        return g.op.Max(*found)

    z = {part: part_z(part) for part in dict.fromkeys(part for group in wanted.values() for part in group.parts)}
    scores = [g.average([z[part] for part in group.parts]) for group in wanted.values()]
    weights = np.array([detector.choice.weights[name] if scorer == "ensemble" else 1.0 for name in wanted])
    return g.op.Sum(*(x * float(w) for x, w in zip(scores, weights / weights.sum(), strict=True)))


def _columns(g: Graph, band: Band, vectors: dict[str, Value], dims: dict[str, int]) -> Value:
    """`statistics.columns_of` a band."""
    part, number = band
    slices = {view: band_slice(dims[view], number, part.n_bands) for view in part.views}
    return g.op.Concat(*(g.part(vectors[view], 1, at.start, at.stop) for view, at in slices.items()), axis=1)


def _auto(g: Graph, detector: Auto, scorer: str, recorded: Value, section: Value | None) -> Value:
    weights = detector.weights if scorer == "auto" else {scorer: 1.0}
    parts = []
    for name, weight in weights.items():
        member, scale = detector.members[name], detector.scales[name]
        scores = clip_scores(g, member, member.scorers[0], recorded, section if knows_sections(member) else None)
        parts.append((scores - scale.mean) * (weight / scale.deviation))
    return g.op.Sum(*parts)


def _autoencoder(g: Graph, detector: Autoencoder, scorer: str, recorded: Value, section: Value | None) -> Value:
    n_frames, n_mels = detector.n_frames, detector.n_mels
    waveforms = one_waveform(g, detector.context.front_end, recorded)
    levels = log_mel(g, LogMel(detector.context.sample_rate_hz, **detector.log_mel), waveforms)
    first = g.op.Unsqueeze(g.range(g.size(levels, 1) - (n_frames - 1)), [1])
    windows = g.shaped(g.taken(levels, 1, first + g.constant(np.arange(n_frames))), 0, -1, n_frames * n_mels)
    codes = layers(g, detector.network.encoder, windows)
    residual = windows - layers(g, detector.network.decoder, codes)
    residual_frames = g.shaped(residual, 0, -1, n_mels)
    if scorer == "mse":
        return g.mean(g.square(residual), 1, 2, keepdims=False)
    precisions = [inverse(covariance) for covariance in (detector.cov_source, detector.cov_target)]
    if scorer in ("mahalanobis", "mahalanobis_frames"):
        vectors = g.mean(residual_frames, 1) if scorer == "mahalanobis" else residual_frames
        distances = [g.total(g.op.MatMul(vectors, g.constant(p)) * vectors, 2) for p in precisions]
        return g.op.Min(*(g.mean(distance, 1, 2, keepdims=False) for distance in distances))
    vectors = g.mean(codes if scorer == "bottleneck_knn" else residual_frames, 1, keepdims=False)
    return section_scores(g, detector.neighbours[scorer], vectors, section, standardise=False)


def _embedding(g: Graph, detector: Embedding, scorer: str, recorded: Value, section: Value | None) -> Value:
    parts = embedding_parts(g, detector.encoder, detector.settings.name, detector.context.front_end, recorded)
    several = len(parts) > 1
    found = [
        section_scores(g, of_part, part, section, standardise=several)
        for of_part, part in zip(detector.fitted[scorer], parts, strict=True)
    ]
    return g.average(found)


def _windowed(g: Graph, detector: Windowed, scorer: str, recorded: Value, section: Value | None) -> Value:
    """Mean over windows, cut as `Recordings.windows` does it, on the scale of all sections."""
    own = section if knows_sections(detector.detector) else None
    if detector.n_samples is None:
        return clip_scores(g, detector.detector, scorer, recorded, own)
    clips, length = g.size(recorded, 0), g.size(recorded, 2)
    n = g.op.Where(
        g.op.LessOrEqual(length, int(detector.uncut_lengths * detector.n_samples)), length, detector.n_samples
    )
    count = (length + n - 1) / n
    last = g.real(g.op.Max(count - 1, 1))
    step = g.real(length - n) / last
    first = g.whole(g.op.Round(g.op.Min(g.real(g.range(count)) * step, g.real(length - n))))
    cut = g.taken(recorded, 2, g.op.Unsqueeze(first, [1]) + g.range(n))  # (clips, microphones, windows, n)
    windows = g.op.Transpose(cut, perm=[0, 2, 1, 3])
    if own is not None:
        each = g.op.Concat(g.constant([1]), g.op.Reshape(count, [1]), axis=0)
        own = g.shaped(g.op.Expand(g.op.Unsqueeze(own, [1]), each), -1)
    of_windows = g.shaped(windows, clips * count, detector.context.front_end.n_microphones, n)
    scores = clip_scores(g, detector.detector, scorer, of_windows, own)
    means = scaled = g.mean(g.shaped(scores, clips, count), 1, keepdims=False)
    for name, (factor, offset) in detector.scales.get(scorer, {}).items():
        scaled = g.op.Where(g.op.Equal(section, section_number(name)), means * factor + offset, scaled)
    return scaled


_FORMULAS: dict[type[Detector], Callable[[Graph, Any, str, Value, Value | None], Value]] = {
    Auto: _auto,
    Statistics: _statistics,
    Autoencoder: _autoencoder,
    Embedding: _embedding,
    Windowed: _windowed,
}
