"""When a machine is active, learnt from recordings of it without background.

In a clean recording the power of a frame says by itself whether the machine is at work. That is the target: from
the same recording with noise mixed in, a linear model learns to tell it by the shape of the frame's spectrum, and
in clips of which nothing is known its answer is the weight of a frame. Weighting is done on the waveform, so that
every detector has it: a frame of weight w is turned down to sqrt(w), and its power counts w times.

Conventions: waveforms (batch, samples) float32; frames of 1024 samples every 512.
"""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate, pad

N_BANDS = 32  # of equal width
LEAST_WEIGHT = 0.1  # of a frame in which nothing of the machine is found: not a hole, a fade

_FRAME_SAMPLES, _HOP_SAMPLES = 1024, 512
_RIDGE = 1e-2  # share of a feature's variance: bands of one noise move together


def activity_target(clean: torch.Tensor) -> torch.Tensor:
    """How much of the machine is in a frame: (batch, samples) clean -> (batch, frames) in [0, 1).

    p / (p + mean p) for the power p of a frame: a half throughout for a machine that never rests.
    """
    power = _bands(clean).sum(1)
    return power / (power + power.mean(1, keepdim=True)).clamp_min(1e-20)


def fit_activity(noisy: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Weights (bands + 1,) of the ridge regression of the target on the frames' shapes, the constant last.

    Args:
        noisy: (batch, samples) clean recordings with noise in them.
        target: (batch, frames) from `activity_target` of the same recordings without.
    """
    features = _features(noisy).transpose(1, 2).flatten(0, 1).double()
    design = torch.cat([features, torch.ones_like(features[:, :1])], 1)
    gram = design.T @ design
    ridge = _RIDGE * gram.diagonal().clone()
    ridge[-1] = 0.0
    return torch.linalg.solve(gram + ridge.diag(), design.T @ target.flatten().double()).float()


def frame_weights(waveforms: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weight of each frame by the model: (batch, samples) -> (batch, frames) in [LEAST_WEIGHT, 1]."""
    predicted = torch.einsum("bmf,m->bf", _features(waveforms), weights[:-1]) + weights[-1]
    return predicted.clamp(LEAST_WEIGHT, 1.0)


def turn_down(waveforms: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Clips (batch, samples) with each frame at the square root of its weight, the same shape.

    Args:
        waveforms: (batch, samples).
        weights: (bands + 1,) of `fit_activity`.
    """
    gain = frame_weights(waveforms, weights).sqrt()
    whole = (gain.shape[1] - 1) * _HOP_SAMPLES + 1
    smooth = interpolate(gain[:, None], whole, mode="linear", align_corners=True)[:, 0]
    return waveforms * smooth[:, : waveforms.shape[1]]


def _bands(waveforms: torch.Tensor) -> torch.Tensor:
    """Power in bands of equal width: (batch, samples) -> (batch, bands, frames), a frame at 0 and at the end."""
    padded = pad(waveforms, (0, -waveforms.shape[1] % _HOP_SAMPLES))
    spectra = torch.stft(
        padded,
        _FRAME_SAMPLES,
        _HOP_SAMPLES,
        window=torch.hann_window(_FRAME_SAMPLES, device=waveforms.device),
        pad_mode="constant",
        return_complex=True,
    )
    return spectra[:, 1:].abs().square().unflatten(1, (N_BANDS, -1)).mean(2)


def _features(waveforms: torch.Tensor) -> torch.Tensor:
    """Level of each band in bels re its mean over the clip: (batch, samples) -> (batch, bands, frames)."""
    power = _bands(waveforms)
    usual = power.mean(2, keepdim=True)
    return torch.log10((power + 1e-4 * usual) / usual.clamp_min(1e-20) + 1e-20)
