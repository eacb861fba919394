"""Reconstruct windows of log-mel frames; what the network cannot reconstruct is unusual.

Scorers:
    mse: mean squared reconstruction error of a clip.
    mahalanobis: selective Mahalanobis distance of the clip's mean residual frame, to the nearer domain.
    mahalanobis_frames: the mean of its frames' distances instead, as the paper writes it.

The network, windows and optimiser are those of the official baseline (DCASE Task 2, 2020-2026). Its code
averages a form over all pairs of frames, which is the distance of the mean residual, here in linear time;
the paper (Harada et al., arXiv 2303.00455) averages distances. The former is the better detector by far,
so it stays the meaning of "mahalanobis". Two modes otherwise:

    compatible=False: validation holds out whole clips, covariances pool all residuals of a domain around
        one mean and are shrunk (Ledoit-Wolf), thresholds are fitted on clip scores.
    compatible=True follows the official code: validation holds out windows, each batch's residuals are
        centred by their own mean, covariances are divided by windows although each holds five frames,
        thresholds are fitted on losses of shuffled batches. See docs/autoencoder.md for the effects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import mse_loss

from asd.core.checkpoint import load_into, load_tensors, load_weights, save_tensors
from asd.core.networks.autoencoder import MLPAutoencoder
from asd.core.trainer import train
from asd.data.recordings import Recordings
from asd.detectors.base import Detector, RunContext, Scores, is_target
from asd.detectors.options import AutoencoderSettings
from asd.features.frames import Windows, log_mel_frames
from asd.scoring.covariance import streamed_ledoit_wolf
from asd.types import AsdError

_CHUNK_WINDOWS = 1 << 13  # windows looked at once outside training: some 60 MB of activations


class Autoencoder(Detector):
    """The official autoencoder.

    Args:
        context: device, caches, seed.
        settings: log-mel settings, windows and training; `compatible` reproduces the official code (see above).
    """

    settings_type = AutoencoderSettings

    def __init__(self, context: RunContext, settings: AutoencoderSettings | None = None) -> None:
        super().__init__(context)
        self.settings = settings = settings or AutoencoderSettings()
        n_frames, n_mels = settings.n_frames, settings.n_mels
        self.log_mel = {"n_fft": settings.n_fft, "hop_samples": settings.hop_samples, "n_mels": n_mels}
        self.n_frames, self.n_mels, self.compatible = n_frames, n_mels, settings.compatible
        self.scorers = (
            ("mse", "mahalanobis") if self.compatible else ("mse", "mahalanobis", "mahalanobis_frames")
        )
        torch.manual_seed(context.seed)  # initial weights
        self.network = MLPAutoencoder(n_frames * n_mels).to(context.device)
        # covariance of the residual frames, per domain
        self.cov_source = self.cov_target = torch.eye(n_mels)

    def fit(self, recordings: Recordings) -> None:
        """Trains the network, then measures the residuals of both domains."""
        recordings = self.context.supplement.all_normals(recordings)
        windows = self._windows(recordings)
        learn, held_out = self._split(windows, is_target(recordings))
        result = train(
            self.network,
            lambda indices: self._loss(windows[indices]),
            learn,
            self.settings.training,
            self.context.directory,
            seed=self.context.seed,
            valid_indices=held_out,
            fingerprint=self.context.fingerprint,
            label=f"train {recordings.clips[0].machine}",
        )
        self.network.eval()
        target = torch.from_numpy(is_target(recordings)).to(windows.clip_of.device)[windows.clip_of]
        with torch.no_grad():
            if self.compatible:
                self._official_covariances(windows, learn, target)
                self.calibration = {
                    "mse": torch.cat([result.train_losses, result.valid_losses]).double().numpy(),
                    "mahalanobis": self._official_batch_distances(windows, learn, held_out),
                }
            else:
                self._pooled_covariances(windows, learn, target)

    def score(self, recordings: Recordings) -> Scores:
        """Scores by mean squared error and by selective Mahalanobis distances."""
        windows = self._windows(recordings)
        precisions = [_inverse(c).to(self.context.device) for c in (self.cov_source, self.cov_target)]
        self.network.eval()
        parts: dict[str, list[torch.Tensor]] = {scorer: [] for scorer in self.scorers}
        for chunk, lengths in windows.chunks(_CHUNK_WINDOWS):
            with torch.no_grad():
                residual = chunk - self.network(chunk)
                parts["mse"].append(_segment_mean(residual.square().mean(1), lengths))
                frames, counts = residual.view(-1, self.n_mels), lengths * self.n_frames
                parts["mahalanobis"].append(_of_mean(frames, counts, precisions))
                if not self.compatible:
                    parts["mahalanobis_frames"].append(_mean_of(frames, counts, precisions))
        return {scorer: torch.cat(values).double().cpu().numpy() for scorer, values in parts.items()}

    def save(self, directory: Path) -> None:
        """Writes weights.safetensors under the official names, with the covariances and calibration."""
        tensors = dict(self.network.state_dict())
        tensors |= {"cov_source": self.cov_source.float(), "cov_target": self.cov_target.float()}
        tensors |= {f"calibration.{k}": torch.from_numpy(v) for k, v in self.calibration.items()}
        save_tensors(directory / "weights.safetensors", tensors, {"detector": "autoencoder"})

    def load(self, directory: Path) -> None:
        """Reads weights.safetensors."""
        path = directory / "weights.safetensors"
        self._set(load_tensors(path)[0], path)

    def load_weights(self, path: Path) -> None:
        """Takes weights of the official baseline: its `.pth`, or safetensors under the same names."""
        self._set(load_weights(path), path)

    def facts(self) -> Mapping[str, Any]:
        """Parameters, multiply-accumulates per 10 s clip, and words for the meta file."""
        macs = sum(m.weight.numel() for m in self.network.modules() if isinstance(m, torch.nn.Linear))
        windows_per_clip = 1 + 160_000 // self.log_mel["hop_samples"] - (self.n_frames - 1)
        return {
            "total_parameters": sum(p.numel() for p in self.network.parameters()) + 2 * self.n_mels**2,
            "macs": macs * windows_per_clip,
            "acoustic_features": "log-mel energies",
            "machine_learning_method": "AE",
            "aggregation_method": "average",
            "decision_making": "quantile of the training scores",
        }

    def _set(self, tensors: dict[str, torch.Tensor], path: Path) -> None:
        tensors = dict(tensors)
        try:
            self.cov_source, self.cov_target = tensors.pop("cov_source"), tensors.pop("cov_target")
        except KeyError as error:
            raise AsdError(
                f"{path} has no {error}; it is not an autoencoder of this framework or the official baseline"
            ) from error
        self.calibration = {
            name.removeprefix("calibration."): tensors.pop(name).double().numpy()
            for name in list(tensors)
            if name.startswith("calibration.")
        }
        load_into(self.network, tensors, path)

    def _windows(self, recordings: Recordings) -> Windows:
        frames = log_mel_frames(
            recordings, self.log_mel, self.context.cache, self.context.device, exact=self.compatible
        )
        short = np.flatnonzero(frames.lengths < self.n_frames)
        if len(short):
            least = (self.n_frames - 1) * self.log_mel["hop_samples"]
            raise AsdError(
                f"{recordings.clips[short[0]].path} has {recordings.lengths_samples[short[0]]} samples, too few "
                f"for one window of {self.n_frames} frames ({least} samples); remove it or lower "
                f"autoencoder.n_frames"
            )
        return Windows(frames, self.n_frames, self.context.device)

    def _loss(self, x: torch.Tensor) -> torch.Tensor:
        return mse_loss(self.network(x), x)

    def _split(self, windows: Windows, target: npt.NDArray[np.bool_]) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows to learn from and windows held out for the validation loss, 9 to 1."""
        rng = np.random.default_rng(self.context.seed)
        clip_of = windows.clip_of.cpu().numpy()
        if self.compatible:
            order = rng.permutation(len(windows))
            held = np.zeros(len(windows), dtype=bool)
            held[order[: int(np.ceil(0.1 * len(windows)))]] = True
        else:
            held_clips = np.zeros(len(target), dtype=bool)
            for domain in (False, True):
                clips = rng.permutation(np.flatnonzero(target == domain))
                held_clips[clips[: len(clips) // 10]] = True
            held = held_clips[clip_of]
        device = windows.clip_of.device
        return (
            torch.from_numpy(np.flatnonzero(~held)).to(device),
            torch.from_numpy(np.flatnonzero(held)).to(device),
        )

    def _residual_frames(self, windows: Windows, indices: torch.Tensor) -> Iterator[torch.Tensor]:
        for batch in torch.split(indices, _CHUNK_WINDOWS):
            x = windows[batch]
            yield (x - self.network(x)).view(-1, self.n_mels)

    def _pooled_covariances(self, windows: Windows, learn: torch.Tensor, target: torch.Tensor) -> None:
        of_source, of_target = learn[~target[learn]], learn[target[learn]]
        if not len(of_source):
            of_source = of_target
        self.cov_source = (
            streamed_ledoit_wolf(lambda: self._residual_frames(windows, of_source))[0].float().cpu()
        )
        self.cov_target = self.cov_source
        if len(of_target):
            self.cov_target = (
                streamed_ledoit_wolf(lambda: self._residual_frames(windows, of_target))[0].float().cpu()
            )

    def _official_covariances(self, windows: Windows, learn: torch.Tensor, target: torch.Tensor) -> None:
        """Scatter of each shuffled batch around its own mean, summed, over (windows - 1)."""
        scatter = torch.zeros(2, self.n_mels, self.n_mels, device=learn.device)
        counts = [0, 0]
        for batch in self._shuffled(learn, self.settings.training.epochs):
            x = windows[batch]
            residual = x - self.network(x)
            for domain in (0, 1):
                part = residual[target[batch] == bool(domain)].view(-1, self.n_mels)
                if len(part):
                    part = part - part.mean(0)
                    scatter[domain] += part.T @ part
                    counts[domain] += len(part) // self.n_frames
        if not counts[0]:  # the official code divides by zero here; a machine of targets only has one domain
            scatter, counts = scatter.flip(0), counts[::-1]
        self.cov_source = (scatter[0] / (counts[0] - 1)).cpu()
        self.cov_target = (scatter[1] / (counts[1] - 1)).cpu() if counts[1] > 1 else self.cov_source

    def _official_batch_distances(
        self, windows: Windows, learn: torch.Tensor, held_out: torch.Tensor
    ) -> npt.NDArray[np.float64]:
        """Distance of the mean residual of each shuffled training batch and each validation batch."""
        precisions = [_inverse(c).to(learn.device) for c in (self.cov_source, self.cov_target)]
        batches = [
            *self._shuffled(learn, self.settings.training.epochs + 1),
            *held_out.split(self.settings.training.batch_size),
        ]
        values = []
        for batch in batches:
            x = windows[batch]
            frames = (x - self.network(x)).view(-1, self.n_mels)
            values.append(_of_mean(frames, torch.tensor([len(frames)], device=learn.device), precisions))
        return torch.cat(values).double().cpu().numpy()

    def _shuffled(self, indices: torch.Tensor, epoch: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(self.context.seed + epoch)
        order = torch.randperm(len(indices), generator=generator).to(indices.device)
        return torch.split(indices[order], self.settings.training.batch_size)


def _of_mean(frames: torch.Tensor, counts: torch.Tensor, precisions: list[torch.Tensor]) -> torch.Tensor:
    """Squared distance of each clip's mean residual to the nearer domain: (frames, mels) -> (clips,).

    Equal to the official mean of r_i^T P r_j over all pairs (i, j) of the clip's frames.
    """
    mean = _segment_mean(frames, counts)
    return torch.stack([((mean @ p) * mean).sum(1) for p in precisions]).amin(0)


def _mean_of(frames: torch.Tensor, counts: torch.Tensor, precisions: list[torch.Tensor]) -> torch.Tensor:
    """Mean of the frames' squared distances, to the nearer domain: (frames, mels) -> (clips,)."""
    distances = [((frames @ p) * frames).sum(1) for p in precisions]
    return torch.stack([_segment_mean(d, counts) for d in distances]).amin(0)


def _segment_mean(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Means of consecutive runs of rows: deterministic on every device."""
    means: torch.Tensor = torch.segment_reduce(values, "mean", lengths=lengths)
    return means


def _inverse(covariance: torch.Tensor) -> torch.Tensor:
    # float64: the official float32 inverse loses three digits on machines with a dead band
    return torch.linalg.inv(covariance.double()).float()
