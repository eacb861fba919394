"""An autoencoder of windows of log-mel frames: clips that it reconstructs badly are anomalous.

Scorers:
    mse: mean squared reconstruction error of a clip.
    mahalanobis: selective Mahalanobis distance of the clip's mean residual frame, to the nearer domain.
    mahalanobis_frames: the mean of its frames' distances instead, as the paper writes it.
    bottleneck_knn, residual_knn: whitened, density-relative nearest neighbour of the clip's mean code, or of its
        mean residual frame, among those of the training clips.

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

from asd.core.checkpoint import load_into, load_weights
from asd.core.files import load_tensors, save_tensors
from asd.core.networks.autoencoder import (
    MLPAutoencoder,
    covariances_around_batches,
    inverse,
    mean_frame_distance,
    mean_residual_distance,
    segment_mean,
    streamed_ledoit_wolf,
)
from asd.core.trainer import train
from asd.data.recordings import Recordings
from asd.detectors import AutoencoderSettings
from asd.detectors.base import Detector, RunContext, Scores
from asd.features.frames import Windows, log_mel_frames
from asd.scoring.backends import PerSectionScorer, backend_named, nested, part_of
from asd.scoring.references import FloatArray, references_of, sections_of
from asd.types import AsdError, Domain

_OFFICIAL, _FRAMES = ("mse", "mahalanobis"), "mahalanobis_frames"
_VECTORS = ("bottleneck_knn", "residual_knn")
_BACKEND = "knn_relative"
_CHUNK_WINDOWS = 1 << 13  # windows looked at once outside training: some 60 MB of activations


class Autoencoder(Detector):
    """The official autoencoder; `compatible` reproduces the official code, too (see above)."""

    settings_type = AutoencoderSettings

    def __init__(self, context: RunContext, settings: AutoencoderSettings | None = None) -> None:
        super().__init__(context)
        self.settings = settings = settings or AutoencoderSettings()
        n_frames, n_mels = settings.n_frames, settings.n_mels
        self.log_mel = {"n_fft": settings.n_fft, "hop_samples": settings.hop_samples, "n_mels": n_mels}
        self.n_frames, self.n_mels, self.compatible = n_frames, n_mels, settings.compatible
        self.scorers = _OFFICIAL if self.compatible else (*_OFFICIAL, _FRAMES, *_VECTORS)
        torch.manual_seed(context.seed)  # initial weights
        self.network = MLPAutoencoder(n_frames * n_mels).to(context.device)
        # covariance of the residual frames, per domain
        self.cov_source = self.cov_target = torch.eye(n_mels)
        self.neighbours: dict[str, PerSectionScorer] = {}  # by scorer of `_VECTORS`

    def fit(self, recordings: Recordings) -> None:
        """Trains the network, then measures the residuals of both domains."""
        recordings = self.context.all_normals(recordings)
        windows = self._windows(recordings)
        is_target = np.array([clip.domain is Domain.TARGET for clip in recordings.clips])  # unknown counts as source
        learn, held_out = self._split(windows, is_target)
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
        target = torch.from_numpy(is_target).to(windows.clip_of.device)[windows.clip_of]
        with torch.no_grad():
            if self.compatible:
                self._official_covariances(windows, learn, target)
                self.calibration = {
                    "mse": torch.cat([result.train_losses, result.valid_losses]).double().numpy(),
                    "mahalanobis": self._official_batch_distances(windows, learn, held_out),
                }
            else:
                self._pooled_covariances(windows, learn, target)
        if not self.compatible:
            for scorer, vectors in self._measured(windows)[1].items():
                self.neighbours[scorer] = self._scorer().fit(references_of(recordings.clips, vectors))

    def score(self, recordings: Recordings) -> Scores:
        """Scores by mean squared error, by selective Mahalanobis distances and by nearest neighbours."""
        # rounded levels would move `bottleneck_knn` by up to 1e-3
        scores, vectors = self._measured(self._windows(recordings, exact=True))
        sections = sections_of(recordings.clips)
        scores |= {name: scorer.score(vectors[name], sections) for name, scorer in self.neighbours.items()}
        return {name: scores[name] for name in self.scorers}

    def score_training(self, recordings: Recordings) -> Scores:
        """The same for the training clips, without any among its own neighbours."""
        scores, _ = self._measured(self._windows(recordings))
        n = len(recordings)  # what else was learnt from comes behind them
        scores |= {name: scorer.score_training()[:n] for name, scorer in self.neighbours.items()}
        return {name: scores[name] for name in self.scorers}

    def _measured(self, windows: Windows) -> tuple[Scores, dict[str, FloatArray]]:
        """Scores (clips,) by the scorers without neighbours, and the vectors (clips, dims) of those with."""
        precisions = [inverse(c).to(self.context.device) for c in (self.cov_source, self.cov_target)]
        self.network.eval()
        scorers = (*_OFFICIAL, _FRAMES)
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in (*scorers, *_VECTORS)}
        for chunk, lengths in windows.chunks(_CHUNK_WINDOWS):
            with torch.no_grad():
                codes = self.network.encoder(chunk)
                residual = chunk - self.network.decoder(codes)
                frames, counts = residual.view(-1, self.n_mels), lengths * self.n_frames
                parts["mse"].append(segment_mean(residual.square().mean(1), lengths))
                parts["mahalanobis"].append(mean_residual_distance(frames, counts, precisions))
                parts[_FRAMES].append(mean_frame_distance(frames, counts, precisions))
                parts["bottleneck_knn"].append(segment_mean(codes, lengths))
                parts["residual_knn"].append(segment_mean(frames, counts))
        found = {name: torch.cat(values).double().cpu().numpy() for name, values in parts.items()}
        return {name: found[name] for name in scorers}, {name: found[name] for name in _VECTORS}

    def save(self, directory: Path) -> None:
        """Writes weights.safetensors under the official names, with the covariances and calibration."""
        tensors = dict(self.network.state_dict())
        tensors |= {"cov_source": self.cov_source.float(), "cov_target": self.cov_target.float()}
        tensors |= {f"calibration.{k}": torch.from_numpy(v) for k, v in self.calibration.items()}
        save_tensors(directory / "weights.safetensors", tensors, {"detector": "autoencoder"})
        arrays: dict[str, Any] = {}
        for scorer, neighbours in self.neighbours.items():
            arrays |= nested(scorer, neighbours.state())
        bank = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        save_tensors(directory / "bank.safetensors", bank)

    def load(self, directory: Path) -> None:
        """Reads what `save` wrote."""
        path = directory / "weights.safetensors"
        self._set(load_tensors(path)[0], path)
        arrays = {k: tensor.numpy() for k, tensor in load_tensors(directory / "bank.safetensors")[0].items()}
        if not arrays:
            self._without_neighbours()
        elif not self.compatible:
            self.neighbours = {name: self._scorer().restore(part_of(name, arrays)) for name in _VECTORS}

    def load_weights(self, path: Path) -> None:
        """Takes weights of the official baseline: its `.pth`, or safetensors under the same names.

        They come without training clips, so the scorers by nearest neighbours are not there.
        """
        self._set(load_weights(path), path)
        self._without_neighbours()

    def _without_neighbours(self) -> None:
        self.scorers = tuple(scorer for scorer in self.scorers if scorer not in _VECTORS)

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

    def _windows(self, recordings: Recordings, *, exact: bool = False) -> Windows:
        exact = exact or self.compatible
        cache, device = self.context.cache_of(recordings), self.context.device
        frames = log_mel_frames(recordings, self.log_mel, cache, device, exact=exact)
        if len(short := np.flatnonzero(frames.lengths < self.n_frames)):
            least = (self.n_frames - 1) * self.log_mel["hop_samples"]
            raise AsdError(
                f"{recordings.clips[short[0]].path} has {recordings.lengths_samples[short[0]]} samples, too few "
                f"for one window of {self.n_frames} frames ({least} samples); remove it or lower "
                f"autoencoder.n_frames"
            )
        return Windows(frames, self.n_frames, device)

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
        return (torch.from_numpy(np.flatnonzero(~held)).to(device), torch.from_numpy(np.flatnonzero(held)).to(device))

    def _scorer(self) -> PerSectionScorer:
        return PerSectionScorer(backend_named(_BACKEND, device=str(self.context.device)))

    def _residual_frames(self, windows: Windows, indices: torch.Tensor) -> Iterator[torch.Tensor]:
        for batch in torch.split(indices, _CHUNK_WINDOWS):
            x = windows[batch]
            yield (x - self.network(x)).view(-1, self.n_mels)

    def _pooled_covariances(self, windows: Windows, learn: torch.Tensor, target: torch.Tensor) -> None:
        of_source, of_target = learn[~target[learn]], learn[target[learn]]
        if not len(of_source):
            of_source = of_target
        self.cov_source = streamed_ledoit_wolf(lambda: self._residual_frames(windows, of_source))[0].float().cpu()
        self.cov_target = self.cov_source
        if len(of_target):
            self.cov_target = streamed_ledoit_wolf(lambda: self._residual_frames(windows, of_target))[0].float().cpu()

    def _official_covariances(self, windows: Windows, learn: torch.Tensor, target: torch.Tensor) -> None:
        batches = self._shuffled(learn, self.settings.training.epochs)
        residuals = ((windows[batch] - self.network(windows[batch]), target[batch]) for batch in batches)
        source, other = covariances_around_batches(residuals, self.n_mels)
        self.cov_source, self.cov_target = source.cpu(), other.cpu()

    def _official_batch_distances(
        self, windows: Windows, learn: torch.Tensor, held_out: torch.Tensor
    ) -> npt.NDArray[np.float64]:
        """Distance of the mean residual of each shuffled training batch and each validation batch."""
        precisions = [inverse(c).to(learn.device) for c in (self.cov_source, self.cov_target)]
        batches = [
            *self._shuffled(learn, self.settings.training.epochs + 1),
            *held_out.split(self.settings.training.batch_size),
        ]
        values = []
        for batch in batches:
            x = windows[batch]
            frames = (x - self.network(x)).view(-1, self.n_mels)
            values.append(mean_residual_distance(frames, torch.tensor([len(frames)], device=learn.device), precisions))
        return torch.cat(values).double().cpu().numpy()

    def _shuffled(self, indices: torch.Tensor, epoch: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(self.context.seed + epoch)
        order = torch.randperm(len(indices), generator=generator).to(indices.device)
        return torch.split(indices[order], self.settings.training.batch_size)
