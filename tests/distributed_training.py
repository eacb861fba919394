"""What `test_distributed.py` trains, alone or as one of several processes.

They are started as `python -m tests.distributed_training DIR KIND...`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from asd.core.files import save_tensors
from asd.core.semi import EmaTeacher
from asd.core.trainer import train
from asd.options import TrainSettings

DATA = torch.randn(43, 6, generator=torch.Generator().manual_seed(1))


class Network(nn.Module):
    """Has a branch for odd items only, so that a piece may leave it out, and a parameter that nothing uses."""

    def __init__(self, normalised: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 6)
        self.between = nn.BatchNorm1d(8) if normalised else nn.Tanh()
        self.branch = nn.Linear(6, 6)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        y = self.second(self.between(self.first(DATA[indices])))
        odd = indices % 2 == 1
        if odd.any():
            y[odd] = y[odd] + self.branch(DATA[indices[odd]])
        return y


def train_there(directory: Path, rank: int, epochs: int = 4, kind: str = "plain") -> None:
    """Trains with everything that could go apart between processes; each writes what it ends with."""
    torch.manual_seed(rank)  # processes that do not agree from the beginning
    net = Network(kind == "normalised")
    teacher = EmaTeacher(net, 0.9)

    def step(indices: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        error = (net(indices) - DATA[indices]).square().mean(0)
        loss = error.mean() * (float("nan") if kind == "nan" and 7 in indices.tolist() else 1)
        return loss, {"left": error[:3].mean()}

    settings = TrainSettings(
        epochs=epochs,
        batch_size=10,
        learning_rate=1e-2,
        weight_decay=0.1,
        warmup=0.2,
        schedule="cosine",
        clip_norm=0.5,
        accumulate=2 if kind == "pieces" else 1,
    )
    trained = train(
        net,
        step,
        torch.arange(33),
        settings,
        directory,
        seed=3,
        patience=3,
        valid_indices=torch.arange(33, 43),
        validate=lambda epoch: {"score": float((teacher(torch.arange(43)) - DATA).square().mean())},
        teacher=teacher,
    )
    both = nn.ModuleDict({"net": net, "teacher": teacher})
    facts = {"best_epoch": trained.best_epoch, "losses": trained.train_losses.tolist()}
    save_tensors(directory / f"rank{rank}.safetensors", both.state_dict(), facts)


if __name__ == "__main__":
    import os

    torch.set_num_threads(1)
    for name in sys.argv[2:]:  # one training after the other: most of the time goes into starting processes
        train_there(Path(sys.argv[1], name), int(os.environ["RANK"]), kind=name.partition("-")[0])
