"""One cell of the fusion study: a multimodal Transformer learns what an editor did with every track.

The recipe is that of the report "Multimodal learning experiment" of 2025-12-14: Adam, two epochs of warm-up, a cosine
to 1e-6, gradients clipped to 1.0, binary cross entropy of active tracks, cross entropy of assets, and squared errors of
scale, position and crop. Tracks that are not active have no asset and no numbers, and are ignored there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import one_hot

from asd.core.losses.binary import Bce
from asd.core.losses.cells import SoftCrossEntropy, SquaredError
from asd.core.losses.multitask import MultiTask, TaskLosses
from asd.core.networks.gated_fusion import MultimodalTransformer, TrackOutput, drop_modalities
from asd.core.trainer import train
from asd.options import TrainSettings
from asd.studies.config import Fusion
from asd.synthetic.tracks import MODALITIES, NUMBERS, Layout, Sequences
from asd.types import AsdError

TERMS = ("active", "asset", "scale", "position", "crop")
COLUMNS = ("total", *TERMS, "active_right", "asset_right")  # what is measured of every test sequence
_NUMBERS_OF = {"scale": slice(0, 1), "position": slice(1, 3), "crop": slice(3, len(NUMBERS))}
_LEAST_SPREAD = 1e-3  # a value that never changed, such as an anchor, is not divided by its noise


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences on the device: input and targets. Features have mean 0 and spread 1; NaN where absent, else finite."""

    features: dict[str, torch.Tensor]  # {modality: (batch, steps, width)}
    present: torch.Tensor  # (batch, steps, modalities) bool
    active: torch.Tensor  # (batch, steps, tracks) bool
    asset: torch.Tensor  # (batch, steps, tracks, assets), one-hot
    numbers: torch.Tensor  # (batch, steps, tracks, numbers); NaN where the track is not active

    def __len__(self) -> int:
        return len(self.present)

    def at(self, indices: torch.Tensor) -> Batch:
        """Sequences by number."""
        features = {name: x[indices] for name, x in self.features.items()}
        return Batch(features, *(getattr(self, each.name)[indices] for each in fields(self)[1:]))

    def withhold(self, modality: str) -> Batch:
        """The same sequences without a modality."""
        present = self.present.clone()
        present[..., list(self.features).index(modality)] = False
        return replace(self, present=present)


Scales = Mapping[str, tuple[np.ndarray, np.ndarray]]  # modality -> mean and spread, (width,) each


def split_indices(config: Fusion) -> dict[str, torch.Tensor]:
    """Numbers of the training, validation and test sequences."""
    sizes = {"training": config.n_train, "validation": config.n_valid, "test": config.n_test}
    parts = torch.arange(sum(sizes.values())).split(list(sizes.values()))
    return dict(zip(sizes, parts, strict=True))


def measure_scales(sequences: Sequences, n_train: int) -> Scales:
    """Mean and spread of every feature over the steps of the first `n_train` sequences where it is known."""
    scales = {}
    for name, x in sequences.features.items():
        rows = x[:n_train].reshape(-1, x.shape[-1])
        if np.isnan(rows).all(0).any():
            raise AsdError(
                f"a feature of the modality {name} is NaN in all {n_train} training sequences; lower absent= and "
                "unknown= or raise n_train="
            )
        spread = np.nanstd(rows, 0)
        scales[name] = (np.nanmean(rows, 0), np.where(spread > _LEAST_SPREAD, spread, 1.0))
    return scales


def prepare(
    sequences: Sequences, scales: Scales, modalities: Sequence[str], n_assets: int, device: torch.device
) -> Batch:
    """Sequences with the modalities named, on the device.

    A value that is NaN although its modality is present becomes 0, the mean; absent modalities stay NaN.
    """
    chosen = [MODALITIES.index(name) for name in modalities]
    features = {}
    for i, name in zip(chosen, modalities, strict=True):
        mean, spread = scales[name]
        x = (sequences.features[name] - mean) / spread
        unknown = np.isnan(x) & sequences.present[..., i, None]
        features[name] = torch.tensor(np.where(unknown, 0.0, x), dtype=torch.float32, device=device)
    return Batch(
        features,
        torch.tensor(sequences.present[..., chosen], device=device),
        torch.tensor(sequences.active, device=device),
        one_hot(torch.tensor(sequences.asset, device=device), n_assets).float(),
        torch.tensor(sequences.numbers, dtype=torch.float32, device=device),
    )


def layout_of(config: Fusion) -> Layout:
    """What the sequences of a study look like."""
    return Layout(**{field.name: getattr(config, field.name) for field in fields(Layout)})


def build_network(config: Fusion, modalities: Sequence[str], fusion: str, seed: int) -> MultimodalTransformer:
    """The network with its first weights."""
    torch.manual_seed(seed)
    widths = layout_of(config).widths()
    own = {"n_tracks", "n_assets", "n_dims", "n_heads", "n_layers", "n_feedforward", "dropout"}
    sizes = config.model_dump(include=own)
    return MultimodalTransformer(
        {name: widths[name] for name in modalities}, n_numbers=len(NUMBERS), fusion=fusion, **sizes
    )


def build_losses(weights: Mapping[str, float]) -> MultiTask:
    """The five terms with their weights."""
    squared = {name: SquaredError() for name in _NUMBERS_OF}
    return MultiTask({"active": Bce(), "asset": SoftCrossEntropy(), **squared}, weights)


def losses_of(losses: MultiTask, answers: TrackOutput, batch: Batch) -> TaskLosses:
    """Total and terms of the loss of a batch; tracks that are not active count for `active` only."""
    idle = ~batch.active
    inputs: dict[str, dict[str, torch.Tensor | None]] = {
        "active": {"logits": active_logits(answers), "targets": batch.active.float()},
        "asset": {"logits": answers.asset, "targets": batch.asset, "ignore": idle},
    }
    for name, columns in _NUMBERS_OF.items():
        numbers = {"logits": answers.numbers[..., columns], "targets": batch.numbers[..., columns]}
        inputs[name] = {**numbers, "ignore": idle[..., None]}
    return losses(inputs)


def active_logits(answers: TrackOutput) -> torch.Tensor:
    """Log odds (batch, steps, tracks) of active against idle."""
    return answers.active[..., 1] - answers.active[..., 0]


def usable(data: Batch, indices: torch.Tensor, split: str) -> torch.Tensor:
    """Those of the sequences `indices` in which no step is without any of the modalities."""
    found = indices[data.present[indices].any(-1).all(-1).cpu()]
    if len(found) < 2:
        raise AsdError(
            f"all modalities ({', '.join(data.features)}) are absent somewhere in {len(indices) - len(found)} of "
            f"{len(indices)} {split} sequences; lower absent= and trouble=, or make more sequences"
        )
    return found.to(data.present.device)


def fit(net: MultimodalTransformer, data: Batch, config: Fusion, seed: int, directory: Path, mark: str) -> int:
    """Trains the network in place; keeps the weights of the epoch with the lowest validation loss, and returns it.

    Sequences without any of the network's modalities at some step are left out; epochs are counted from 1.
    """
    losses, splits = build_losses(config.weights.model_dump()), split_indices(config)

    def step(indices: torch.Tensor) -> TaskLosses:
        batch = data.at(indices)
        present = batch.present
        if net.training and config.modality_dropout:
            present = drop_modalities(present, config.modality_dropout, torch.default_generator)
        return losses_of(losses, net(batch.features, present), batch)

    done = train(
        net,
        step,
        usable(data, splits["training"], "training"),
        train_settings(config),
        directory,
        seed=seed,
        patience=config.patience or config.epochs,
        valid_indices=usable(data, splits["validation"], "validation"),
        fingerprint=mark,
        label="/".join(directory.parts[-2:]),
    )
    return done.best_epoch or config.epochs


def train_settings(config: Fusion) -> TrainSettings:
    """The recipe as the training loop takes it."""
    warmup = min(config.warmup_epochs / config.epochs, 1.0)
    return TrainSettings(**config.own(TrainSettings), warmup=warmup, schedule="cosine", optimizer="adam")


def answer_frequencies(training: Batch, places: tuple[int, int]) -> TrackOutput:
    """Prediction at places (batch, steps) without input: each track's frequencies in training."""
    active = training.active.float().mean((0, 1)).clamp(1e-3, 1 - 1e-3)
    counts = (training.asset * training.active[..., None]).sum((0, 1)) + 1
    numbers = training.numbers.nanmean((0, 1)).nan_to_num()
    return TrackOutput(
        torch.stack([(1 - active).log(), active.log()], -1).expand(*places, -1, -1),
        (counts / counts.sum(-1, keepdim=True)).log().expand(*places, -1, -1),
        numbers.expand(*places, -1, -1),
        None,
    )
