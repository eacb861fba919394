"""Encoders as graphs: waveforms (clips, samples) to the parts of an embedding.

Spectra are formulas; networks behind them come from torch's own exporter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from asd.core.networks.encoder import Branches, Encoder
from asd.deploy.graph.features import clip_statistics, frames, log_mel
from asd.deploy.graph.formula import TINY, Graph, Value
from asd.deploy.graph.microphones import less_far
from asd.detectors.base import ClipEncoder
from asd.detectors.encoders.bottleneck import STEP_DB, ZERO_DB, Bottleneck
from asd.detectors.encoders.build import OwnEncoder
from asd.detectors.encoders.fault_mlp import FaultClassifiers, FaultMlp
from asd.detectors.encoders.pretrained import HubInput, Pretrained
from asd.detectors.encoders.published import PATCH_FRAMES, BeatsInput, EatInput
from asd.features.logmel import KaldiFbank
from asd.types import AsdError, FrontEnd


def embedding_parts(g: Graph, encoder: ClipEncoder, name: str, front_end: FrontEnd, recorded: Value) -> list[Value]:
    """Parts of the embeddings of recordings (clips, microphones, samples), each (clips, dims); messages use `name`."""
    if isinstance(encoder, FaultMlp):
        views = less_far(g, front_end, recorded, lambda waveforms: clip_statistics(g, encoder.statistics, waveforms))
        return _fault_layers(g, encoder.module, g.op.Concat(*views.values(), axis=1))
    module: Any = encoder.module
    found = less_far(g, front_end, recorded, lambda waveforms: {"": _segment_direction(g, module, name, waveforms)})
    return [_unit(g, found[""])]


def _unit(g: Graph, vectors: Value) -> Value:
    return vectors / g.op.Max(g.op.Sqrt(g.total(g.square(vectors), 1)), TINY)


def _fault_layers(g: Graph, module: FaultClassifiers, vectors: Value) -> list[Value]:
    """`FaultClassifiers.embeddings`: the first hidden layer of each classifier, and what no network changes."""
    standard = (vectors - g.constant(module.centre)) / g.constant(module.spread)
    columns = g.op.Concat(standard, g.op.MatMul(standard, g.constant(module.axes)), axis=1)
    farthest = g.constant(module.FARTHEST)
    parts = []
    for network, own, scale in zip(module.networks, module.inputs, module.scales.tolist(), strict=True):
        x = g.op.Clip(g.part(columns, 1, own.start, own.stop) / scale, g.op.Neg(farthest), farthest)
        parts.append(g.op.Relu(layers(g, network.first, x)))
    return parts + [g.taken(standard, 1, dims) for dims in module.direct]


def layers(g: Graph, modules: Any, x: Value) -> Value:
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


def _segment_direction(g: Graph, encoder: Encoder, name: str, waveforms: Value) -> Value:
    """`encoders.segment_encoder.clip_embeddings`: the direction of the mean embedding of a clip's segments."""
    spectra = next((formula for kind, formula in SPECTRA.items() if isinstance(encoder, kind)), None)
    if spectra is None:
        raise AsdError(f"embedding.encoder={name} has no formula in the graph; train with fault_mlp or multires_cnn")
    longest, shortest, length = encoder.segment_samples, encoder.shortest_samples, g.size(waveforms, 1)
    n = g.op.Clip(length, g.constant(shortest), g.constant(longest)) if shortest < longest else g.constant(longest)
    count = (length + n - 1) / n
    span = g.real(g.op.Max(length - n, 0))
    first = g.whole(g.op.Round(span * g.real(g.range(count)) / g.real(g.op.Max(count - 1, 1))))
    within = g.op.Mod(g.op.Unsqueeze(first, [1]) + g.range(n), length)
    segments = g.shaped(g.taken(waveforms, 1, within), -1, n)
    example = encoder.spectra(torch.zeros(2, longest))
    try:
        found = g.network(_Encode(encoder), example, spectra(g, encoder, segments, name), any_time=shortest < longest)
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise AsdError(f"embedding.encoder={name} has a step without an operator of ONNX ({reason})") from error
    embeddings = g.shaped(g.real(found), g.size(waveforms, 0), count, encoder.n_parts * encoder.n_dims)
    return _unit(g, g.mean(embeddings, 1, keepdims=False))


def _branch_spectra(g: Graph, encoder: Branches, segments: Value, _: str) -> list[Value]:
    """`Branches.spectra`: (segments, samples) -> each (segments, bins, frames) or (segments, bins)."""
    if not encoder.level:
        rms = g.op.Sqrt(g.mean(g.square(segments), 1))
        segments = segments / g.op.Max(rms, TINY)
    spectra = []
    for i, (n, lowest) in enumerate(zip(encoder.windows_samples, encoder.first_bins, strict=True)):
        pad = n // 2 * encoder.centred
        cut = frames(g, g.padded(segments, 1, pad, pad), n, n // 2)
        window = g.constant(encoder.get_buffer(f"window_{i}"), single=True)
        magnitude = g.op.Sqrt(g.power(cut * window, n))
        spectra.append(g.op.Transpose(g.part(magnitude, 2, lowest, n // 2 + 1), perm=[0, 2, 1]))
    if encoder.n_parts > len(spectra):
        whole = g.power(g.op.Unsqueeze(segments, [1]), encoder.segment_samples)
        spectra.append(g.op.Sqrt(g.op.Squeeze(whole, [1])))
    return spectra


def _levels(g: Graph, encoder: Bottleneck, segments: Value, _: str) -> list[Value]:
    """`Bottleneck.spectra`: (segments, samples) -> (segments, mels, frames)."""
    levels = log_mel(g, encoder.log_mel, segments)
    zero = g.constant(ZERO_DB) if encoder.level else g.mean(levels, 1, 2)
    return [g.op.Transpose((levels - zero) / STEP_DB, perm=[0, 2, 1])]


def _kaldi_levels(g: Graph, bank: KaldiFbank, waveforms: Value) -> Value:
    """`features.logmel.KaldiFbank`: (clips, samples) -> (clips, frames, mels)."""
    n = bank.frame_samples
    cut = frames(g, waveforms, n, bank.hop_samples)
    cut = cut - g.mean(cut, 2)
    before = g.op.Concat(g.part(cut, 2, 0, 1), g.part(cut, 2, 0, n - 1), axis=2)
    windowed = (cut - before * 0.97) * g.constant(bank.get_buffer("window"), single=True)
    power = g.power(g.padded(windowed, 2, 0, bank.n_fft - n), bank.n_fft)
    levels = g.op.MatMul(power, g.constant(bank.get_buffer("filters"), single=True))
    return g.op.Log(g.op.Max(levels, float(np.finfo(np.float32).eps)))


def _hub_levels(g: Graph, inputs: HubInput, segments: Value, name: str) -> Value:
    """The feature extractor of an AST: filter bank, filled up to its length, and its normalisation."""
    extractor = inputs.extractor
    if not inputs.is_ast or extractor.num_mel_bins != KaldiFbank.n_mels:
        raise AsdError(
            f"embedding.encoder={name} cannot be exported: a {type(extractor).__name__} has no formula in the graph, "
            f"only that of an AST; train with ast, beats or eat"
        )
    levels = _kaldi_levels(g, KaldiFbank("hanning"), segments)
    longest = extractor.max_length
    levels = g.part(g.padded(levels, 1, 0, g.op.Max(longest - g.size(levels, 1), 0)), 1, 0, longest)
    return (levels - extractor.mean) / (2 * extractor.std) if extractor.do_normalize else levels


def _filter_bank(g: Graph, encoder: Pretrained, segments: Value, name: str) -> list[Value]:
    """`Pretrained.spectra`: (segments, samples) -> (segments, mels, frames), or what else a model of the Hub takes."""
    inputs: Any = encoder.inputs
    if isinstance(inputs, BeatsInput):
        levels = (_kaldi_levels(g, inputs.fbank, segments * 2.0**15) - inputs.mean) / (2 * inputs.spread)
    elif isinstance(inputs, EatInput):
        levels = _kaldi_levels(g, inputs.fbank, segments - g.mean(segments, 1))
        levels = g.padded(levels, 1, 0, g.op.Mod(g.op.Neg(g.size(levels, 1)), g.constant(PATCH_FRAMES)))
        levels = (levels - inputs.mean) / (2 * inputs.spread)
    else:
        levels = _hub_levels(g, inputs, segments, name)
    return [g.op.Transpose(levels, perm=[0, 2, 1])]


SPECTRA: dict[type[Encoder], Callable[[Graph, Any, Value, str], list[Value]]] = {
    Branches: _branch_spectra,
    Bottleneck: _levels,
    Pretrained: _filter_bank,
    OwnEncoder: lambda g, encoder, segments, name: [segments],
}


class _Encode(nn.Module):
    """The part of an encoder behind its spectra, for the exporter."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder.eval()

    def forward(self, spectra: Sequence[Any]) -> Any:
        return self.encoder.encode(spectra)
