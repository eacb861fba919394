"""Curves for TensorBoard, for those who have it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from asd.types import AsdError


class TensorBoard:
    """Writes a training's numbers where `tensorboard --logdir` finds them.

    Args:
        directory: receives the folder `tensorboard`.
        first_epoch: curves from this epoch on, left by a run that was stopped, are hidden.

    Raises:
        AsdError: the package is not installed.
    """

    def __init__(self, directory: Path, first_epoch: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise AsdError(
                "tensorboard=true needs the package tensorboard, which is not installed; "
                "`pip install tensorboard`, or leave tensorboard=false: metrics.jsonl has the same numbers"
            ) from error
        self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=first_epoch)

    def add(self, line: Mapping[str, float]) -> None:
        """Writes the numbers of one line of metrics.jsonl."""
        for name, value in line.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, int(line["epoch"]))
        self._writer.flush()
