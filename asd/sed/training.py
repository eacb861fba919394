"""A network learns events, and is asked for them: what `asd.core.trainer` does, with clips on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asd.core.checkpoint import load_into, load_tensors, save_tensors
from asd.core.semi.teacher import EmaTeacher
from asd.core.trainer import TrainSettings, train
from asd.sed.dataset import Clips, Scale
from asd.sed.network import EventNetwork, Heard
from asd.sed.objective import Objective


@dataclass(frozen=True)
class Probabilities:
    """What a network says of clips: frames (clips, frames, classes) and clips (clips, classes)."""

    frames: torch.Tensor
    clips: torch.Tensor


@dataclass(frozen=True)
class Models:
    """A student, its teacher, and the scale on which both hear."""

    student: EventNetwork
    teacher: EmaTeacher
    scale: Scale

    def by_name(self) -> dict[str, nn.Module]:
        """Both of them; they are asked and measured by the same code."""
        return {"student": self.student, "teacher": self.teacher.module}

    def save(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Writes weights, scale and facts to one safetensors file."""
        tensors = {f"student.{name}": tensor for name, tensor in self.student.state_dict().items()}
        tensors |= {f"teacher.{name}": tensor for name, tensor in self.teacher.state_dict().items()}
        tensors |= {"scale.mean": self.scale.mean, "scale.spread": self.scale.spread}
        save_tensors(path, tensors, facts)

    @classmethod
    def load(cls, path: Path, network: EventNetwork, device: torch.device) -> Models:
        """Reads what `save` wrote into a network like the one it was of.

        Raises:
            AsdError: no such file, a damaged one, or the weights of another network.
        """
        tensors, _ = load_tensors(path, device)
        student, teacher = network.to(device), EmaTeacher(network)
        both: dict[str, nn.Module] = {"student.": student, "teacher.": teacher}
        for name, module in both.items():
            own = {key[len(name) :]: tensor for key, tensor in tensors.items() if key.startswith(name)}
            load_into(module, own, path)
        models = cls(student, teacher, Scale(tensors["scale.mean"], tensors["scale.spread"]))
        for module in models.by_name().values():
            module.eval()
        return models


def fit(
    models: Models,
    objective: Objective,
    validation: Clips,
    settings: TrainSettings,
    directory: Path,
    *,
    seed: int,
    patience: int | None,
    fingerprint: str,
    label: str,
) -> None:
    """Trains the student, and the teacher along with it; resumes where it was stopped.

    After each epoch the macro F1 over validation frames at the threshold 0.5 is logged, of both, and that of
    the student is the score by which `patience` stops.

    Args:
        models: moved in place.
        objective: loss of a batch of its clips.
        validation: standardised clips with frame labels.
        settings: how long and how.
        directory: of metrics.jsonl and the state to resume from.
        seed, patience: as `core.trainer.train` takes them.
        fingerprint: hash of configuration and data.
        label: what the progress bar says.
    """

    def validate(epoch: int) -> dict[str, float]:
        del epoch
        f1 = {
            name: frame_f1(probabilities(network, validation, settings.batch_size).frames, validation)
            for name, network in models.by_name().items()
        }
        return {"score": f1["student"], "score_teacher": f1["teacher"]}

    clips = objective.clips
    train(
        models.student,
        objective,
        torch.arange(len(clips), device=clips.log_mel.device),
        settings,
        directory,
        seed=seed,
        patience=patience,
        validate=validate,
        teacher=models.teacher,
        fingerprint=fingerprint,
        label=label,
    )
    for module in models.by_name().values():
        module.eval()


@torch.no_grad()
def probabilities(network: nn.Module, clips: Clips, batch_size: int) -> Probabilities:
    """What a network in eval mode says of standardised clips; padding has the probability 0.

    Clips of one length go together and without padding, so that what is said of one does not depend on the
    others.
    """
    frames = torch.zeros_like(clips.frame_targets)
    whole = torch.zeros_like(clips.clip_targets)
    lengths = (~clips.absent).sum(1)
    for length in lengths.unique().tolist():
        for indices in (lengths == length).nonzero().squeeze(1).split(batch_size):
            heard: Heard = network(clips.log_mel[indices, :length], clips.absent[indices, :length])
            frames[indices, :length] = heard.frames.float().sigmoid()
            whole[indices] = heard.clips.sigmoid()
    return Probabilities(frames, whole)


def frame_f1(frames: torch.Tensor, clips: Clips, threshold: float = 0.5) -> float:
    """Macro F1 over frames of probabilities (clips, frames, classes)."""
    true, said = clips.frame_targets > threshold, frames > threshold
    hits, misses = (true & said).sum((0, 1)), (true ^ said).sum((0, 1))
    return float((2 * hits / (2 * hits + misses).clamp_min(1)).mean())
