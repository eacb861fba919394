"""A raw-waveform CNN learns who says which word, and what it makes of recordings that it never met."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import one_hot

from asd.core.losses.categorical import SoftCrossEntropy
from asd.core.networks.raw_wave import DESIGNS, RawWaveCNN, RawWaveDesign
from asd.core.trainer import TrainSettings, train
from asd.evaluation.explain import hz_to_mel, mel_to_hz
from asd.features.augment import draw_mixup, mixup
from asd.studies.config import Digits
from asd.studies.digits.data import Words
from asd.studies.digits.perturbation import Strength, draw_perturbation, perturb
from asd.types import AsdError

SMALL = RawWaveDesign(
    (32, 64, 64, 96, 64),
    9,
    first_kernel=65,
    stride=4,
    pool=4,
    pool_first=True,
    batch_norm=True,
    hidden=(32,),
    dropout=0.2,
)
"""Fast enough for a CPU: 65 taps tell frequencies apart that 5 do not, and after a stride and a pooling by 4
each, a sixteenth of the samples is left to the other layers, as in Dai et al., "Very deep convolutional neural
networks for raw waveforms", ICASSP 2017. 2 x 4^6 = 8192 samples, 1.024 s at 8 kHz, become 2 steps of 64 channels,
128 features as in `features128`, and a dense layer makes 32 of them."""

NETWORKS = {"small": SMALL, **DESIGNS}

_BATCH = 256  # recordings looked at together where nothing is learnt


def build_network(config: Digits, n_classes: int, seed: int) -> RawWaveCNN:
    """The network with its first weights.

    Raises:
        AsdError: an unknown name, or waveforms too short for it.
    """
    if config.network not in NETWORKS:
        raise AsdError(f"network={config.network} is unknown; use one of {', '.join(NETWORKS)}")
    torch.manual_seed(seed)
    net = RawWaveCNN(NETWORKS[config.network], n_classes, round(config.duration_s * config.sample_rate_hz))
    if config.tuned:
        first = next(layer for layer in net.modules() if isinstance(layer, torch.nn.Conv1d))
        n_filters, _, n_taps = first.weight.shape
        with torch.no_grad():
            first.weight[:, 0] = band_passes(n_filters, n_taps, config.sample_rate_hz)
    return net


def band_passes(n_filters: int, n_taps: int, sample_rate_hz: int) -> torch.Tensor:
    """Filters (n_filters, n_taps) of length 1: Hann windows over cosines of any phase, spaced on the mel scale.

    A network that starts with them need not find out from a few thousand words that there are frequencies.

    Source: Sainath et al., "Learning the speech front-end with raw waveform CLDNNs", Interspeech 2015.
    """
    mels = np.linspace(0.0, float(hz_to_mel(sample_rate_hz / 2)), n_filters + 2)[1:-1]
    frequencies_hz = torch.from_numpy(mel_to_hz(mels)).float()
    times_s = (torch.arange(n_taps) - (n_taps - 1) / 2) / sample_rate_hz
    phases = 2 * math.pi * torch.rand(n_filters, 1)
    waves = torch.cos(2 * math.pi * frequencies_hz[:, None] * times_s + phases)
    windowed = waves * torch.hann_window(n_taps + 2, periodic=False)[1:-1]
    return windowed / windowed.norm(dim=1, keepdim=True)


def fit(
    net: RawWaveCNN,
    words: Words,
    indices: torch.Tensor,
    config: Digits,
    seed: int,
    folder: Path,
    fingerprint: str,
) -> None:
    """Trains the network on the recordings `indices` (n,), each time as somebody else might have sounded.

    Every epoch is run and the last weights stay: no recording is spent on choosing, and none of the test is seen.
    """
    targets = one_hot(words.labels, len(words.classes)).float()
    if config.label_smoothing:
        targets = targets * (1 - config.label_smoothing) + config.label_smoothing / len(words.classes)
    loss = SoftCrossEntropy()
    strength = Strength(
        config.speed, config.shift_s, config.filter_db, (config.least_snr_db, config.most_snr_db)
    )

    def step(batch: torch.Tensor) -> torch.Tensor:
        heard = perturb(
            words.waveforms[batch],
            draw_perturbation(len(batch), words.waveforms.shape[1], words.sample_rate_hz, strength),
        )
        mixing = draw_mixup(len(batch), config.mixup)
        value: torch.Tensor = loss(net(mixup(heard, mixing)), mixup(targets[batch], mixing))
        return value

    settings = TrainSettings(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup=0.1,
        schedule="cosine",
        precision=config.precision,
        clip_norm=config.clip_norm,
    )
    train(net, step, indices, settings, folder, seed=seed, fingerprint=fingerprint, label="digits")


@torch.no_grad()
def listen(net: RawWaveCNN, waveforms: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits (recordings, classes), and what another classifier may start from, by its length.

    The features are the flattened last activation map, and each hidden dense layer after it: (recordings, n).
    """
    net.eval()
    logits: list[torch.Tensor] = []
    features: dict[str, list[torch.Tensor]] = {}
    for part in waveforms.split(_BATCH):
        x = net.features(part)
        found = [x]
        for layer in net.head:
            x = layer(x)
            if isinstance(layer, torch.nn.ReLU):
                found.append(x)
        logits.append(x)
        for values in found:
            features.setdefault(f"{values.shape[1]}", []).append(values)
    return torch.cat(logits), {name: torch.cat(values) for name, values in features.items()}
