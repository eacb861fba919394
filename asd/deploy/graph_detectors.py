"""Fitted detectors as graphs: waveforms (clips, samples) to one score per clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from asd.core.networks.encoder import Branches, Encoder
from asd.deploy.graph import Graph, Value
from asd.deploy.graph_features import clip_statistics, frames, log_mel
from asd.deploy.graph_scoring import section_scores
from asd.detectors.auto import Auto
from asd.detectors.autoencoder import Autoencoder
from asd.detectors.base import Detector
from asd.detectors.embedding import Embedding
from asd.detectors.encoders.bottleneck import STEP_DB, ZERO_DB, Bottleneck
from asd.detectors.encoders.build import OwnEncoder
from asd.detectors.encoders.fault_mlp import FaultClassifiers, FaultMlp
from asd.detectors.statistic_groups import PartScorer, band_slice
from asd.detectors.statistics import Statistics
from asd.detectors.windowed import Windowed
from asd.features.frames import STEPS_PER_DB
from asd.features.logmel import LogMel
from asd.scoring.backends import PerSectionScorer
from asd.scoring.residual_distance import inverse
from asd.types import AsdError


def clip_scores(g: Graph, detector: Detector, scorer: str, waveforms: Value, section: Value | None) -> Value:
    """Scores of a fitted detector.

    Args:
        g: where to.
        detector: fitted.
        scorer: one of the detector's.
        waveforms: (clips, samples) float32.
        section: (clips,) section of each clip; None where the detector has one.

    Returns:
        (clips,) float64.

    Raises:
        AsdError: a detector, encoder, view or back end that has no formula.
    """
    formula = _FORMULAS.get(type(detector))
    if formula is None:
        raise AsdError(
            f"a {type(detector).__name__} detector cannot be exported; there are formulas for statistics, auto, "
            f"autoencoder and embedding"
        )
    return formula(g, detector, scorer, waveforms, section)


def knows_sections(detector: Detector) -> bool:
    """Whether a score depends on the section of its clip: there is a back end for each of several."""
    if isinstance(detector, Windowed):
        return knows_sections(detector.detector)
    if isinstance(detector, Auto):
        return any(map(knows_sections, detector.members.values()))
    return any(len(scorer.parts) > 1 for scorer in _section_scorers(detector))


def _section_scorers(detector: Detector) -> Iterable[PerSectionScorer]:
    if isinstance(detector, Statistics):
        return [band for part in detector.fitted.values() for band in part.bands]
    if isinstance(detector, Embedding):
        return [scorer for scorers in detector.fitted.values() for scorer in scorers]
    return detector.neighbours.values() if isinstance(detector, Autoencoder) else ()


def _statistics(g: Graph, detector: Statistics, scorer: str, waveforms: Value, section: Value | None) -> Value:
    vectors = {}
    for view, x in clip_statistics(g, detector.extract, waveforms).items():
        if view in detector.nuisances:
            axes = g.constant(detector.nuisances[view])
            along = g.op.MatMul(x, g.op.Transpose(axes, perm=[1, 0]))
            x = x - g.op.MatMul(along, axes)
        vectors[view] = x / g.constant(detector.spreads[view])
    dims = {view: len(spread) for view, spread in detector.spreads.items()}
    wanted = detector.groups if scorer == "ensemble" else {scorer: detector.groups[scorer]}
    parts = {part: None for group in wanted.values() for part in group.parts}
    z = {part: _part_z(g, detector.fitted[part], vectors, dims, section) for part in parts}
    scores = [g.average([z[part] for part in group.parts]) for group in wanted.values()]
    weights = np.array([detector.choice.weights[name] if scorer == "ensemble" else 1.0 for name in wanted])
    return g.op.Sum(*(x * float(w) for x, w in zip(scores, weights / weights.sum(), strict=True)))


def _part_z(
    g: Graph, scorer: PartScorer, vectors: dict[str, Value], dims: dict[str, int], section: Value | None
) -> Value:
    """`PartScorer.z`: the highest of its bands."""
    z, part = [], scorer.part
    for number, band in enumerate(scorer.bands):
        slices = {view: band_slice(dims[view], number, part.n_bands) for view in part.views}
        columns = [g.part(vectors[view], 1, at.start, at.stop) for view, at in slices.items()]
        z.append(section_scores(g, band, g.op.Concat(*columns, axis=1), section, standardise=True))
    return g.op.Max(*z)


def _auto(g: Graph, detector: Auto, scorer: str, waveforms: Value, section: Value | None) -> Value:
    weights = detector.weights if scorer == "auto" else {scorer: 1.0}
    parts = []
    for name, weight in weights.items():
        member, scale = detector.members[name], detector.scales[name]
        scores = clip_scores(g, member, member.scorers[0], waveforms, section if knows_sections(member) else None)
        parts.append((scores - scale.mean) * (weight / scale.deviation))
    return g.op.Sum(*parts)


def _autoencoder(g: Graph, detector: Autoencoder, scorer: str, waveforms: Value, section: Value | None) -> Value:
    n_frames, n_mels = detector.n_frames, detector.n_mels
    levels = log_mel(g, LogMel(detector.context.sample_rate_hz, **detector.log_mel), waveforms)
    if not detector.compatible:
        levels = g.op.Round(levels * STEPS_PER_DB) / STEPS_PER_DB  # as `features.frames` keeps them
    first = g.axes_added(g.range(g.size(levels, 1) - (n_frames - 1)), 1)
    windows = g.shaped(g.taken(levels, 1, first + g.constant(np.arange(n_frames))), 0, -1, n_frames * n_mels)
    codes = _layers(g, detector.network.encoder, windows)
    residual = windows - _layers(g, detector.network.decoder, codes)
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


def _embedding(g: Graph, detector: Embedding, scorer: str, waveforms: Value, section: Value | None) -> Value:
    encoder = detector.encoder
    if isinstance(encoder, FaultMlp):
        views = clip_statistics(g, encoder.statistics, waveforms)
        parts = _fault_layers(g, encoder.module, g.op.Concat(*views.values(), axis=1))
    else:
        parts = [_segment_direction(g, encoder.module, detector.settings.name, waveforms)]
    several = len(parts) > 1
    found = [
        section_scores(g, of_part, part, section, standardise=several)
        for of_part, part in zip(detector.fitted[scorer], parts, strict=True)
    ]
    return g.average(found)


def _fault_layers(g: Graph, module: FaultClassifiers, vectors: Value) -> list[Value]:
    """`FaultClassifiers.embeddings`: two hidden layers of each classifier."""
    standard = (vectors - g.constant(module.centre)) / g.constant(module.spread)
    parts = []
    for network, n, scale in zip(module.networks, module.n_inputs, module.scales.tolist(), strict=True):
        farthest = g.constant(module.FARTHEST)
        x = g.op.Clip(g.part(standard, 1, 0, n) / scale, g.op.Neg(farthest), farthest)
        first = g.op.Relu(_layers(g, network.first, x))
        parts += [first, _layers(g, network.second, first)]
    return parts


def _layers(g: Graph, modules: Any, x: Value) -> Value:
    """Dense layers in their order, as they are when nothing is learnt: (..., inputs) -> (..., outputs)."""
    for module in modules:
        if isinstance(module, nn.Linear):
            x = g.op.MatMul(x, g.constant(module.weight.T)) + g.constant(module.bias)
        elif isinstance(module, nn.BatchNorm1d):
            assert module.running_var is not None
            gain = module.weight.double() / (module.running_var.double() + module.eps).sqrt()
            x = (x - g.constant(module.running_mean)) * g.constant(gain) + g.constant(module.bias)
        else:
            assert isinstance(module, nn.ReLU)
            x = g.op.Relu(x)
    return x


def _segment_direction(g: Graph, encoder: Any, name: str, waveforms: Value) -> Value:
    """`encoders.clips.clip_embeddings`: the direction of the mean embedding of a clip's segments."""
    spectra = next((formula for kind, formula in _SPECTRA.items() if isinstance(encoder, kind)), None)
    if spectra is None:
        raise AsdError(
            f"embedding.encoder={name} cannot be exported, as it takes clips of any length as they are; train with "
            f"fault_mlp, multires_cnn, resnet_se or bottleneck"
        )
    n, length = encoder.segment_samples, g.size(waveforms, 1)
    count = (length + (n - 1)) / n
    span = g.real(g.op.Max(length - n, 0))
    first = g.whole(g.op.Round(span * g.real(g.range(count)) / g.real(g.op.Max(count - 1, 1))))
    within = g.op.Mod(g.axes_added(first, 1) + g.constant(np.arange(n)), length)
    segments = g.shaped(g.taken(waveforms, 1, within), -1, n)
    example = encoder.spectra(torch.zeros(2, n))
    try:
        embeddings = g.real(g.network(_Encode(encoder), example, spectra(g, encoder, segments)))
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise AsdError(f"embedding.encoder={name} has a step without an operator of ONNX ({reason})") from error
    mean = g.mean(
        g.shaped(embeddings, g.size(waveforms, 0), count, encoder.n_parts * encoder.n_dims), 1, keepdims=False
    )
    return mean / g.op.Max(g.op.Sqrt(g.total(g.square(mean), 1)), float(np.finfo(np.float32).tiny))


def _branch_spectra(g: Graph, encoder: Branches, segments: Value) -> list[Value]:
    """`Branches.spectra`: (segments, samples) -> each (segments, bins, frames) or (segments, bins)."""
    if not encoder.level:
        rms = g.op.Sqrt(g.mean(g.square(segments), 1))
        segments = segments / g.op.Max(rms, float(np.finfo(np.float32).tiny))
    spectra = []
    for i, (n, lowest) in enumerate(zip(encoder.windows_samples, encoder.first_bins, strict=True)):
        pad = n // 2 * encoder.centred
        cut = frames(g, g.op.Pad(segments, g.constant([0, pad, 0, pad])), n, n // 2)
        window = g.constant(encoder.get_buffer(f"window_{i}"), single=True)
        magnitude = g.op.Sqrt(g.power(cut * window, n))
        spectra.append(g.op.Transpose(g.part(magnitude, 2, lowest, n // 2 + 1), perm=[0, 2, 1]))
    if encoder.n_parts > len(spectra):
        whole = g.power(g.axes_added(segments, 1), encoder.segment_samples)
        spectra.append(g.op.Sqrt(g.op.Squeeze(whole, [1])))
    return spectra


def _levels(g: Graph, encoder: Bottleneck, segments: Value) -> list[Value]:
    """`Bottleneck.spectra`: (segments, samples) -> (segments, mels, frames)."""
    levels = log_mel(g, encoder.log_mel, segments)
    zero = g.constant(ZERO_DB) if encoder.level else g.mean(levels, 1, 2)
    return [g.op.Transpose((levels - zero) / STEP_DB, perm=[0, 2, 1])]


_SPECTRA: dict[type[Encoder], Callable[[Graph, Any, Value], list[Value]]] = {
    Branches: _branch_spectra,
    Bottleneck: _levels,
    OwnEncoder: lambda g, encoder, segments: [segments],
}


class _Encode(nn.Module):
    """The part of an encoder behind its spectra, for the exporter."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder.eval()

    def forward(self, spectra: Sequence[Any]) -> Any:
        return self.encoder.encode(spectra)


def _windowed(g: Graph, detector: Windowed, scorer: str, waveforms: Value, section: Value | None) -> Value:
    """Mean over windows, cut as `data.windows.windows_of` does it."""
    clips, length = g.size(waveforms, 0), g.size(waveforms, 1)
    n = g.op.Min(length, detector.n_samples)
    count = (length + n - 1) / n
    last = g.real(g.op.Max(count - 1, 1))
    step = g.real(length - n) / last
    first = g.whole(g.op.Round(g.op.Min(g.real(g.range(count)) * step, g.real(length - n))))
    windows = g.taken(waveforms, 1, g.axes_added(first, 1) + g.range(n))
    if section is not None:
        each = g.op.Concat(g.constant([1]), g.op.Reshape(count, [1]), axis=0)
        section = g.shaped(g.op.Expand(g.axes_added(section, 1), each), -1)
    scores = clip_scores(g, detector.detector, scorer, g.shaped(windows, clips * count, n), section)
    return g.mean(g.shaped(scores, clips, count), 1, keepdims=False)


_FORMULAS: dict[type[Detector], Callable[[Graph, Any, str, Value, Value | None], Value]] = {
    Auto: _auto,
    Statistics: _statistics,
    Autoencoder: _autoencoder,
    Embedding: _embedding,
    Windowed: _windowed,
}
