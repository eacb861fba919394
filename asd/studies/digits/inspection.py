"""What a raw-waveform CNN makes of a recording, in numbers and figures: first filters, maps, evidence for a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from asd.core.networks.raw_wave import RawWaveCNN
from asd.evaluation.explain import FloatArray
from asd.evaluation.figures import AGAINST, FOR, INK, styled
from asd.studies.digits.recordings import Words

_N_FFT = 512  # of the frequency responses and of the STFT, whose hop is 128
_HOP = 128
_LEAST_STEPS = 10  # of a map that is to show when a word was recognised
_N_CURVES = 8  # filters shown one by one


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of the first convolution, lowest centre frequency first."""

    taps: FloatArray  # (filters, taps) weights as they are, without batch normalisation
    response_db: FloatArray  # (filters, bins) gain at frequencies from 0 Hz to half the sample rate, largest 0 dB
    centres_hz: FloatArray  # (filters,) frequency of the largest gain


@dataclass(frozen=True, slots=True)
class Example:
    """What the network makes of one recording."""

    word: str
    called: str  # by the network
    waveform: FloatArray  # (samples,)
    spectrogram_db: FloatArray  # (bins, frames) below the loudest, from 0 Hz to half the sample rate
    maps: list[FloatArray]  # (channels, steps) after every block
    evidence: FloatArray  # (steps,) contributions to the word's logit, in a block of at least ten steps


def inspect_network(net: RawWaveCNN, words: Words, tested: torch.Tensor) -> list[Example]:
    """What the network makes of the first recording of every word among `tested` (n,), indices."""
    examples = []
    for label, word in enumerate(words.classes):
        for first in tested[words.labels[tested] == label][:1]:
            waveform = words.waveforms[first]
            called = words.classes[int(net.eval()(waveform[None]).argmax())]
            maps = activation_maps(net, waveform)
            block = max((k for k, x in enumerate(maps) if x.shape[1] >= _LEAST_STEPS), default=0)
            evidence = class_activation_map(net, waveform, label, block)
            samples = waveform.double().cpu().numpy()
            examples.append(Example(word, called, samples, spectrogram_db(waveform), maps, evidence))
    return examples


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
    """What each step of a block's map (-1: the last) adds to the logit of a class: (steps,), positive raises it.

    Activation times gradient, summed over channels. Where nothing but a linear layer follows, the steps add
    up to the logit less its bias, as in the class activation map of Zhou et al. (2016), and nothing else can;
    further down it is a first-order answer.

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


@styled
def confusion_figure(matrices: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    """Confusion matrices by title, in per cent of the actual word."""
    figure = Figure(figsize=(6 * len(matrices), 5.6))
    for k, (title, confusion) in enumerate(matrices.items()):
        counts = np.array(confusion, np.float64)
        shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axes = figure.add_subplot(1, len(matrices), k + 1, label=title)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, origin="upper", aspect="equal")
        for (row, column), share in np.ndenumerate(shares):
            if counts[row, column]:
                text = f"{share:.1f}" if share < 99.95 else "100"
                colour = "white" if share > 50 else INK
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(classes)), classes)
        axes.set_yticks(range(len(classes)), classes)
        axes.set(title=title, xlabel="called", ylabel="actual")
    figure.colorbar(image, ax=figure.axes, label="% of the actual word")
    return figure


@styled
def filters_figure(filters: Filters, sample_rate_hz: int) -> Figure:
    """Frequency responses of all first filters by centre frequency, and some of them one by one.

    The responses describe the network only up to the first ReLU.
    """
    n_filters, n_taps = filters.taps.shape
    shown = np.unique(np.linspace(0, n_filters - 1, min(n_filters, _N_CURVES)).round().astype(int))
    frequencies_hz = np.linspace(0, sample_rate_hz / 2, filters.response_db.shape[1])
    figure = Figure(figsize=(12, 1.1 * len(shown) + 1.6))
    grid = figure.add_gridspec(len(shown), 3, width_ratios=(1.6, 1, 1.6))
    axes = figure.add_subplot(grid[:, 0], label="responses")
    image = axes.imshow(
        filters.response_db, vmin=-40, vmax=0,
        extent=(0, sample_rate_hz / 2, -0.5, n_filters - 0.5),
    )  # fmt: skip
    axes.plot(filters.centres_hz, np.arange(n_filters), "o", color="white", markeredgecolor=INK, markersize=4)
    axes.set(xlabel="frequency (Hz)", ylabel="filter, by centre frequency (dot)", title="all first filters")
    figure.colorbar(image, ax=axes, label="gain (dB below its largest)", location="bottom")
    for row, k in enumerate(shown[::-1]):
        on_taps = figure.add_subplot(grid[row, 1], label=f"taps {k}")
        on_taps.plot(1000 * np.arange(n_taps) / sample_rate_hz, filters.taps[k], color=INK, linewidth=1)
        on_taps.axhline(0, color=INK, linewidth=0.4)
        on_response = figure.add_subplot(grid[row, 2], label=f"response {k}")
        on_response.plot(frequencies_hz, filters.response_db[k], color=AGAINST)
        on_response.axvline(filters.centres_hz[k], color=FOR, linewidth=1)
        on_response.set_ylim(-40, 3)
        on_taps.set_ylabel(f"{filters.centres_hz[k]:,.0f} Hz", rotation=0, ha="right", va="center")
        for panel in (on_taps, on_response):
            panel.tick_params(labelbottom=row == len(shown) - 1)
    on_taps.set_xlabel("time (ms)")
    on_response.set_xlabel("frequency (Hz); gain in dB")
    figure.suptitle("Filters of the first convolution: linear, so that they have a frequency response, "
                    "only before the first ReLU", fontsize=11)  # fmt: skip
    return figure


@styled
def maps_figure(example: Example, sample_rate_hz: int) -> Figure:
    """A recording and the activation map that every block makes of it."""
    duration_s = len(example.waveform) / sample_rate_hz
    figure = Figure(figsize=(9, 1.3 * (len(example.maps) + 1) + 0.6))
    axes = figure.subplots(len(example.maps) + 1, 1)
    axes[0].plot(np.arange(len(example.waveform)) / sample_rate_hz, example.waveform, color=INK, linewidth=0.4)
    axes[0].set(xlim=(0, duration_s), ylabel="waveform", title=f"“{example.word}”, called “{example.called}”")
    for k, (panel, x) in enumerate(zip(axes[1:], example.maps, strict=True), start=1):
        panel.imshow(
            x, extent=(0, duration_s, 0, len(x)),
            interpolation="nearest", vmax=max(float(np.percentile(x, 99.5)), 1e-9),
        )  # fmt: skip
        zeros = 100 * float(np.mean(x == 0))
        panel.set_ylabel(f"block {k}\n{x.shape[0]} x {x.shape[1]}\n{zeros:.0f} % zero", fontsize=8)
    for panel in axes[:-1]:
        panel.tick_params(labelbottom=False)
    axes[-1].set_xlabel("time (s); maps: channels x steps, black is what ReLU removed")
    return figure


@styled
def evidence_figure(examples: Sequence[Example], sample_rate_hz: int) -> Figure:
    """Every word as STFT (512/128), and below it the waveform with what raises the word's logit and what lowers it."""
    n_columns = min(5, len(examples))
    n_rows = -(-len(examples) // n_columns)
    figure = Figure(figsize=(2.6 * n_columns + 0.4, 3.4 * n_rows))
    grid = figure.add_gridspec(2 * n_rows, n_columns, height_ratios=(1.5, 1) * n_rows)
    for k, example in enumerate(examples):
        row, column = divmod(k, n_columns)
        duration_s = len(example.waveform) / sample_rate_hz
        above = figure.add_subplot(grid[2 * row, column], label=f"STFT {example.word}")
        above.imshow(
            example.spectrogram_db, vmin=-70, vmax=0,
            extent=(0, duration_s, 0, sample_rate_hz / 2000),
        )  # fmt: skip
        right = "" if example.called == example.word else f", called “{example.called}”"
        above.set_title(f"“{example.word}”{right}", fontsize=10)
        below = figure.add_subplot(grid[2 * row + 1, column], label=f"evidence {example.word}", sharex=above)
        n_steps = len(example.evidence)
        times_s = (np.arange(n_steps) + 0.5) * duration_s / n_steps
        size = max(float(np.abs(example.evidence).max()), 1e-9)
        loudest = max(float(np.abs(example.waveform).max()), 1e-9)
        below.plot(
            np.arange(len(example.waveform)) / sample_rate_hz, example.waveform / loudest, color="#bbbbbb",
            linewidth=0.3,
        )  # fmt: skip
        colours = [FOR if value > 0 else AGAINST for value in example.evidence]
        below.bar(times_s, example.evidence / size, width=duration_s / n_steps, color=colours, zorder=2)
        below.set(ylim=(-1.05, 1.05), yticks=[])
        above.tick_params(labelbottom=False)
        if column == 0:
            above.set_ylabel("frequency (kHz)")
            below.set_ylabel("for / against")
        if row == n_rows - 1:
            below.set_xlabel("time (s)")
    return figure
