"""Two microphones to the one waveform that a detector gets: pure functions, on any device, a batch at once.

    near, far   one microphone alone
    mean        the mean of both
    cancel      the near one without what the far one explains of it, by complex least squares per frequency
    subtract    the magnitude of the far one taken off that of the near one

Conventions: pairs (batch, 2, samples) float32, row 0 near the machine, row 1 far from it; waveforms
(batch, samples). Nothing here is scaled to a peak: in floating point a common factor changes no ratio.

Activity, when a machine is at work, is learnt from recordings of it without background: there the power of a frame
tells it. From the same recordings with noise mixed in, a linear model learns to tell it by the shape of the frame's
spectrum, and in any clip its answer is the weight of a frame. Weighting is done on the waveform, so that every detector
has it: a frame of weight w is turned down to sqrt(w), and its power counts w times.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import interpolate, pad

from asd.types import FrontEnd, FrontEndName

CANCEL_SAMPLES, SUBTRACT_SAMPLES = 1024, 512  # of a window; the next begins in its middle
LEAST_POWER = 1e-12  # of a frequency of the far microphone, summed over frames: silence explains nothing
FLOOR = 0.1  # share of the magnitude that stays where subtraction would leave none

N_BANDS = 32  # of equal width
LEAST_WEIGHT = 0.1  # of a frame in which nothing of the machine is found: not a hole, a fade
ACTIVITY_SAMPLES, ACTIVITY_HOP_SAMPLES = 1024, 512
_RIDGE = 1e-2  # share of a feature's variance: bands of one noise move together


@torch.no_grad()
def apply_front_end(front_end: FrontEnd, recorded: torch.Tensor) -> torch.Tensor:
    """One waveform of each recording, all of one length: (batch, microphones, samples) -> (batch, samples)."""
    waveforms = FRONT_ENDS[front_end.name](recorded)
    if front_end.profile:
        waveforms = subtract_profile(waveforms, torch.tensor(front_end.profile, device=waveforms.device))
    if front_end.activity:
        waveforms = turn_down(waveforms, torch.tensor(front_end.activity, device=waveforms.device))
    return waveforms


def cancel(pairs: torch.Tensor) -> torch.Tensor:
    """The near microphone C without what the far one F predicts of it: (batch, 2, samples) -> (batch, samples).

    Per clip and frequency one complex factor H = sum_t C conj(F) / (sum_t |F|^2 + 1e-12) is fitted over all
    frames, and C - H F is what remains. Of all such factors it leaves the least power, so it takes from the
    machine, too, as much as the far microphone picks up of it.

    Source: front end "W1" of github.com/kasahart/asd-experiments (post-challenge, DCASE 2026 Task 2).
    """
    spectra = _spectra(pairs, CANCEL_SAMPLES)
    close, distant = spectra[:, 0], spectra[:, 1]
    explained = (close * distant.conj()).sum(-1) / (distant.abs().square().sum(-1) + LEAST_POWER)
    return _waveforms(close - explained[..., None] * distant, pairs.shape[-1])


def subtract(pairs: torch.Tensor) -> torch.Tensor:
    """The far magnitude off the near one, with the near phase: (batch, 2, samples) -> (batch, samples).

    |Y| = |C| - |F| where that is positive, else 0.1 |C|.

    Source: Boll, "Suppression of acoustic noise in speech using spectral subtraction", 1979.
    """
    spectra = _spectra(pairs, SUBTRACT_SAMPLES)
    return _less(spectra[:, 0], spectra[:, 1].abs(), pairs.shape[-1])


def subtract_profile(waveforms: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    """The same with the magnitudes (bins,) of a noise known beforehand, see `magnitude_profile`."""
    return _less(_spectra(waveforms, SUBTRACT_SAMPLES), magnitudes[:, None], waveforms.shape[-1])


def magnitude_profile(waveforms: torch.Tensor) -> torch.Tensor:
    """Mean magnitude of each frequency over all frames: (batch, samples) -> (batch, bins)."""
    return _spectra(waveforms, SUBTRACT_SAMPLES).abs().mean(-1)


FRONT_ENDS: dict[FrontEndName, Callable[[torch.Tensor], torch.Tensor]] = {  # (batch, 2, samples) -> (batch, samples)
    "near": lambda pairs: pairs[:, 0],
    "far": lambda pairs: pairs[:, 1],
    "mean": lambda pairs: pairs.mean(1),
    "cancel": cancel,
    "subtract": subtract,
}


def _less(spectra: torch.Tensor, magnitudes: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Magnitudes taken off spectra (batch, bins, frames): (batch, n_samples)."""
    own = spectra.abs()
    left = torch.where(own > magnitudes, own - magnitudes, FLOOR * own)
    gain = left / own.clamp_min(torch.finfo(own.dtype).tiny)
    return _waveforms(spectra * gain, n_samples)


def _spectra(waveforms: torch.Tensor, n_fft: int) -> torch.Tensor:
    """Periodic Hann, centred frames at every half window: (..., samples) -> (..., bins, frames)."""
    # Up to a whole number of hops: the last samples would else lie under the tail of one window, by whose
    # square the inverse divides.
    hop, window = n_fft // 2, torch.hann_window(n_fft, device=waveforms.device)
    rows = pad(waveforms.flatten(0, -2), (0, -waveforms.shape[-1] % hop))
    spectra = torch.stft(rows, n_fft, hop, window=window, pad_mode="constant", return_complex=True)
    return spectra.unflatten(0, waveforms.shape[:-1])


def _waveforms(spectra: torch.Tensor, n_samples: int) -> torch.Tensor:
    """The inverse of `_spectra` for (batch, bins, frames): (batch, n_samples)."""
    hop = spectra.shape[1] - 1
    window = torch.hann_window(2 * hop, device=spectra.device)
    return torch.istft(spectra, 2 * hop, hop, window=window)[:, :n_samples]


def activity_target(clean: torch.Tensor) -> torch.Tensor:
    """How much of the machine is in a frame: (batch, samples) clean -> (batch, frames) in [0, 1).

    p / (p + mean p) for the power p of a frame: a half throughout for a machine that never rests.
    """
    power = _bands(clean).sum(1)
    return power / (power + power.mean(1, keepdim=True)).clamp_min(1e-20)


def fit_activity(noisy: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Weights (bands + 1,) of the ridge regression of the target on the frames' shapes, the constant last.

    The target (batch, frames) is `activity_target` of the same recordings (batch, samples) without noise.
    """
    features = _features(noisy).transpose(1, 2).flatten(0, 1).double()
    design = torch.cat([features, torch.ones_like(features[:, :1])], 1)
    gram = design.T @ design
    ridge = _RIDGE * gram.diagonal().clone()
    ridge[-1] = 0.0
    return torch.linalg.solve(gram + ridge.diag(), design.T @ target.flatten().double()).float()


def frame_weights(waveforms: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weight of each frame by the model of `fit_activity`: (batch, samples) -> (batch, frames) in [LEAST_WEIGHT, 1]."""
    predicted = torch.einsum("bmf,m->bf", _features(waveforms), weights[:-1]) + weights[-1]
    return predicted.clamp(LEAST_WEIGHT, 1.0)


def turn_down(waveforms: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Clips (batch, samples) with each frame at the square root of its weight, the same shape."""
    gain = frame_weights(waveforms, weights).sqrt()
    whole = (gain.shape[1] - 1) * ACTIVITY_HOP_SAMPLES + 1
    smooth = interpolate(gain[:, None], whole, mode="linear", align_corners=True)[:, 0]
    return waveforms * smooth[:, : waveforms.shape[1]]


def _bands(waveforms: torch.Tensor) -> torch.Tensor:
    """Power in bands of equal width: (batch, samples) -> (batch, bands, frames), a frame at 0 and at the end."""
    return _spectra(waveforms, ACTIVITY_SAMPLES)[:, 1:].abs().square().unflatten(1, (N_BANDS, -1)).mean(2)


def _features(waveforms: torch.Tensor) -> torch.Tensor:
    """Level of each band in bels re its mean over the clip: (batch, samples) -> (batch, bands, frames)."""
    power = _bands(waveforms)
    usual = power.mean(2, keepdim=True)
    return torch.log10((power + 1e-4 * usual) / usual.clamp_min(1e-20) + 1e-20)
