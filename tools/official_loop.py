"""The official autoencoder, trained as its authors do: a plain PyTorch loop to time `make bench` against.

    python tools/official_loop.py data=DIR [machine=fan] [epochs=3] [device=auto]

Five log-mel frames to five, 640-128-128-128-128-8-128-128-128-128-640 with batch normalisation, mean squared error,
Adam at 0.001, batches of 256 windows drawn by a loader that hands over one window at a time. Written from the published
description (DCASE Challenge Task 2, baseline of 2023 to 2025); no code of it is here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from asd.challenge.files import list_clips
from asd.core.runtime import pick_device
from asd.data.audio import read_wav
from asd.features.logmel import LogMel
from asd.types import AsdError, Split

FRAMES, BANDS = 5, 128
HIDDEN = (128, 128, 128, 128, 8, 128, 128, 128, 128)
BATCH = 256
HELD_OUT = 0.1  # of the windows


def windows(data: Path, machine: str) -> torch.Tensor:
    """All windows of five log-mel frames of the training clips, (n, 640)."""
    transform, found = LogMel(), []
    for clip in list_clips(data, machine, Split.TRAIN):
        levels = transform(torch.from_numpy(read_wav(clip.path)[0][:1]))[0].T
        found.append(levels.unfold(0, FRAMES, 1).mT.flatten(1))
    return torch.cat(found)


def network() -> nn.Sequential:
    """The official layers, each but the last with batch normalisation and a ReLU."""
    sizes = (FRAMES * BANDS, *HIDDEN)
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out, momentum=0.01, eps=1e-3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(HIDDEN[-1], sizes[0]))


def train(vectors: torch.Tensor, device: torch.device, epochs: int) -> list[float]:
    """Seconds of every epoch."""
    torch.manual_seed(13711)
    kept = vectors[torch.randperm(len(vectors))[: int(len(vectors) * (1 - HELD_OUT))]]
    loader = DataLoader(TensorDataset(kept), batch_size=BATCH, shuffle=True, drop_last=len(kept) > BATCH)
    model = network().to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    seconds = []
    for _ in range(epochs):
        begun, total = time.perf_counter(), 0.0
        for (batch,) in loader:
            given = batch.to(device)
            loss = nn.functional.mse_loss(model(given), given)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()  # the authors add it up on the host, batch by batch
        seconds.append(time.perf_counter() - begun)
    return seconds


def main(arguments: Sequence[str]) -> int:
    """Trains and prints one row of the table of BENCHMARKS.md."""
    given = {"machine": "fan", "epochs": "3", "device": "auto"} | dict(word.split("=", 1) for word in arguments)
    try:
        vectors = windows(Path(given["data"]), given["machine"])
        seconds = train(vectors, pick_device(given["device"]), int(given["epochs"]))
    except AsdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    later = seconds[1:] or seconds
    print(
        f"| official network, plain PyTorch | {sum(later) / len(later):.2f} s an epoch | | {len(vectors):,} windows |"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
