"""What a raw-waveform CNN hears in a recording: its first filters, its maps, and what speaks for a class."""

from __future__ import annotations

import numpy as np
import torch

from asd.core.networks.raw_wave import RawWaveCNN
from asd.evaluation.explain import FloatArray
from asd.studies.digits.data import Words
from asd.studies.digits.results import Filters, Heard, Hearing
from asd.studies.digits.training import listen

_N_FFT = 512  # of the frequency responses and of the STFT, whose hop is 128, as in founding document 004
_HOP = 128


_LEAST_STEPS = 10  # of a map that is to show when a word was recognised


def hear(net: RawWaveCNN, words: Words, tested: torch.Tensor) -> Hearing:
    """Looks into the network with the first recording of every word among `tested` (n,), indices."""
    heard = []
    for label, word in enumerate(words.classes):
        first = tested[words.labels[tested] == label][:1]
        if len(first):
            waveform = words.waveforms[first[0]]
            said = words.classes[int(listen(net, waveform[None])[0].argmax())]
            maps = activation_maps(net, waveform)
            block = max((k for k, x in enumerate(maps) if x.shape[1] >= _LEAST_STEPS), default=0)
            heard.append(
                Heard(
                    word,
                    said,
                    waveform.double().cpu().numpy(),
                    spectrogram_db(waveform),
                    maps,
                    class_activation_map(net, waveform, label, block),
                )
            )
    return Hearing(words.sample_rate_hz, first_filters(net, words.sample_rate_hz), heard)


def first_filters(net: RawWaveCNN, sample_rate_hz: int) -> Filters:
    """The first convolution as a bank of linear filters, which is what it is before the first ReLU."""
    convolution = next(layer for layer in net.modules() if isinstance(layer, torch.nn.Conv1d))
    taps = convolution.weight.detach().double().cpu().numpy()[:, 0]
    power = np.abs(np.fft.rfft(taps, n=max(_N_FFT, taps.shape[1]))) ** 2
    centres_hz = power.argmax(1) * sample_rate_hz / 2 / (power.shape[1] - 1)
    order = np.argsort(centres_hz, kind="stable")
    relative = power / power.max(1, keepdims=True)
    return Filters(taps[order], 10 * np.log10(np.maximum(relative, 1e-6))[order], centres_hz[order])


def activation_maps(net: RawWaveCNN, waveform: torch.Tensor) -> list[FloatArray]:
    """(channels, steps) after every block, of one waveform (samples,)."""
    with torch.no_grad():
        return [x[0].double().cpu().numpy() for x in net.eval().activation_maps(waveform[None])]


def class_activation_map(net: RawWaveCNN, waveform: torch.Tensor, label: int, block: int) -> FloatArray:
    """What each step of a block's map contributes to the logit of a class: (steps,), positive speaks for it.

    Activation times gradient, summed over channels. Where nothing but a linear layer follows, the steps add
    up to the logit less its bias, as in the class activation map of Zhou et al. (2016), and nothing else can;
    further down it is a first-order answer.

    Args:
        net: the classifier.
        waveform: (samples,).
        label: the class.
        block: index into the network's activation maps; -1 is the last.

    Source: Draelos and Carin, "Use HiResCAM instead of Grad-CAM", 2020.
    """
    net.eval()
    blocks = list(net.blocks)
    cut = block % len(blocks) + 1
    with torch.no_grad():
        x = waveform[None, None]
        for layer in blocks[:cut]:
            x = layer(x)
    x.requires_grad_(True)
    y = x
    for layer in blocks[cut:]:
        y = layer(y)
    logit = net.head(net.feature_norm(y.flatten(1)))[0, label]
    (gradient,) = torch.autograd.grad(logit, x)
    return (x * gradient)[0].sum(0).detach().double().cpu().numpy()


def spectrogram_db(waveform: torch.Tensor) -> FloatArray:
    """Levels (bins, frames) of the STFT (Hann window of 512, hop of 128) in dB below the loudest, -80 at least."""
    window = torch.hann_window(_N_FFT, device=waveform.device)
    power = torch.stft(waveform, _N_FFT, _HOP, window=window, return_complex=True).abs().square()
    level_db = 10 * (power / power.max().clamp_min(1e-12)).clamp_min(1e-8).log10()
    return level_db.double().cpu().numpy()
