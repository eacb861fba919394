"""Loss of a batch of clips: from labels where there are any, from the teacher where there are none.

strong         loss of the frames of clips with strong or soft labels
weak           BCE of the clips whose labels are known, however they are
activity       BCE of whether there is any event, per frame (SED + SAD)
graph          penalty on unequal activity of classes that co-occur (GLR)
consistency    with the teacher where labels are missing: frames of clips without times, clips without labels

total = strong + weak_weight weak + activity_weight activity + graph_weight graph
        + consistency_weight ramp(step) (consistency_clips + consistency_frames)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import nn

from asd.core.losses.binary import Bce, InverseFrequency
from asd.core.losses.catalogue import decision_loss
from asd.core.losses.graph import GraphLaplacian
from asd.core.losses.multitask import EventsAndActivity
from asd.core.semi.confident import ConfidentTargets, cmt_neg, cmt_normal
from asd.core.semi.teacher import Consistency, EmaTeacher
from asd.core.train_settings import exponential_ramp
from asd.features.augment import draw_masks, draw_mixup, mask, mixup
from asd.sed.dataset import Clips
from asd.sed.network import EventLogits, EventNetwork
from asd.types import AsdError

Method = Literal["none", "mean_teacher", "cmt_normal", "cmt_neg"]
Terms = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Semi:
    """How the targets of the teacher are used.

    Attributes:
        method: "none" keeps a teacher without any effect.
        weight: of its terms after the ramp.
        ramp_steps: over which the weight rises.
        positive_threshold: from which probability on a class counts as present; both thresholds of cmt_normal.
        negative_threshold: up to which probability cmt_neg counts a class as absent.
        window_frames: odd median window over its decisions.
        balance: whether cmt_neg's positives and negatives get the same mass.
        sure_cells: divide cmt losses by the confident cells, instead of by all.
    """

    method: Method = "none"
    weight: float = 2.0
    ramp_steps: int = 0
    positive_threshold: float = 0.5
    negative_threshold: float = 0.3
    window_frames: int = 7
    balance: bool = False
    sure_cells: bool = False

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise AsdError(
                f"teacher.method={self.method} is unknown; choose one of {', '.join(get_args(Method))}"
            )


class Batch(NamedTuple):
    """Clips of a step, mixed and blanked: input of the student, input of the teacher, and labels."""

    student: torch.Tensor
    teacher: torch.Tensor
    clips: Clips


class Objective:
    """Loss of a batch of clips, given by their indices; differentiable in the student.

    Args:
        student: learns.
        teacher: its average; moved by the training loop.
        clips: all of them, on the device, standardised.
        loss: of the frames, a name of `core.losses.catalogue`.
        loss_settings: its arguments; the frame counts of "ifl" are added.
        weak_weight: of the clip labels.
        activity_weight: of activity; 0 leaves it out.
        graph_weight: of the graph penalty, on means over frames; 0 leaves it out.
        semi: use of the teacher.
        mixup_share: of the clips that are mixed with another of the same kind of labels.
        mask_widest: widest blank band and stretch, as a share.

    Raises:
        AsdError: an unknown loss or setting, or classes that never co-occur for a graph.
    """

    def __init__(
        self,
        student: EventNetwork,
        teacher: EmaTeacher,
        clips: Clips,
        *,
        loss: str = "bce",
        loss_settings: Mapping[str, Any] | None = None,
        weak_weight: float = 0.5,
        activity_weight: float = 0.0,
        graph_weight: float = 0.0,
        semi: Semi | None = None,
        mixup_share: float = 0.0,
        mask_widest: float = 0.0,
    ) -> None:
        self.student, self.teacher, self.clips = student, teacher, clips
        self.semi = semi or Semi()
        settings = dict(loss_settings or {})
        strong = clips.frame_targets[clips.frames_known]
        if loss == "ifl":
            ended = clips.absent[clips.frames_known].unsqueeze(-1).expand_as(strong)
            self.strong: nn.Module = InverseFrequency.from_labels(strong, ended, **settings)
        else:
            self.strong = decision_loss(loss, **settings)
        self.weak = Bce()
        self.activity = EventsAndActivity(self.strong, activity_weight) if activity_weight else None
        self.graph = GraphLaplacian.from_labels(strong, frames="mean") if graph_weight else None
        self.weak_weight, self.graph_weight = weak_weight, graph_weight
        self.mixup_share, self.mask_widest = mixup_share, mask_widest

    def __call__(self, indices: torch.Tensor) -> tuple[torch.Tensor, Terms]:
        """Loss of the clips (batch,), and its terms."""
        batch = self._batch(indices)
        logits: EventLogits = self.student(batch.student, batch.clips.absent)
        total, terms = self._strong(logits, batch.clips)
        terms["weak"] = self.weak(
            logits.clips, batch.clips.clip_targets, ignore=~batch.clips.clips_known[:, None]
        )
        total = total + self.weak_weight * terms["weak"]
        if self.graph is not None:
            terms["graph"] = self.graph(logits.frames, ignore=_unlabelled_frames(batch.clips))
            total = total + self.graph_weight * terms["graph"]
        if self.semi.method != "none":
            consistency, more = self._consistency(logits, batch)
            ramp = exponential_ramp(float(self.teacher.n_updates), self.semi.ramp_steps)
            total = total + self.semi.weight * ramp * consistency
            terms |= more
        return total, terms

    def _batch(self, indices: torch.Tensor) -> Batch:
        clips = Clips(*(getattr(self.clips, name)[indices] for name in Clips.__dataclass_fields__))
        if self.mixup_share:
            clips = _mixed(clips, self.mixup_share)
        student = clips.log_mel
        if self.mask_widest:
            blanks = draw_masks(len(clips), self.mask_widest)
            student = mask(student.transpose(1, 2), blanks).transpose(1, 2)
        return Batch(student, clips.log_mel, clips)

    def _strong(self, logits: EventLogits, clips: Clips) -> tuple[torch.Tensor, Terms]:
        unlabelled = _unlabelled_frames(clips)
        if self.activity is None:
            loss = self.strong(logits.frames, clips.frame_targets, ignore=unlabelled)
            return loss, {"strong": loss}
        both = self.activity(logits.frames, logits.activity, clips.frame_targets, ignore=unlabelled)
        return both.total, {"strong": both.terms["events"], "activity": both.terms["activity"]}

    def _consistency(self, logits: EventLogits, batch: Batch) -> tuple[torch.Tensor, Terms]:
        """Sum of the terms of clips and frames where labels are missing."""
        taught: EventLogits = self.teacher(batch.teacher, batch.clips.absent)
        clip_labels = batch.clips.clips_known[:, None]
        frame_labels = batch.clips.frames_known[:, None, None] | batch.clips.absent[:, :, None]
        y_clips, y_frames = taught.clips.float().sigmoid(), taught.frames.float().sigmoid()
        if self.semi.method == "mean_teacher":
            distance = Consistency("mse")
            clips = distance(logits.clips, y_clips, ignore=clip_labels)
            frames = distance(logits.frames, y_frames, ignore=frame_labels)
            return clips + frames, {"consistency_clips": clips, "consistency_frames": frames}
        sure = self._sure(y_clips, y_frames, frame_labels)
        bce = Bce("mean_active" if self.semi.sure_cells else "mean")
        clips = bce(logits.clips, sure.clips.targets, sure.clips.weight, clip_labels)
        frames = bce(logits.frames, sure.frames.targets, sure.frames.weight, frame_labels)
        return clips + frames, {
            "consistency_clips": clips,
            "consistency_frames": frames,
            "positive_mass_clips": sure.clips.positive_mass,
            "negative_mass_clips": sure.clips.negative_mass,
            "positive_mass_frames": sure.frames.positive_mass,
            "negative_mass_frames": sure.frames.negative_mass,
        }

    def _sure(self, clips: torch.Tensor, frames: torch.Tensor, ignore: torch.Tensor) -> ConfidentTargets:
        windows = [self.semi.window_frames] * frames.shape[2]
        if self.semi.method == "cmt_normal":
            threshold = self.semi.positive_threshold
            return cmt_normal(
                clips,
                frames,
                clip_threshold=threshold,
                frame_threshold=threshold,
                windows_frames=windows,
                ignore=ignore,
            )
        if self.semi.method == "cmt_neg":
            return cmt_neg(
                clips,
                frames,
                positive_threshold=self.semi.positive_threshold,
                negative_threshold=self.semi.negative_threshold,
                windows_frames=windows,
                balance=self.semi.balance,
                ignore=ignore,
            )
        raise AsdError(f"the teacher of method={self.semi.method} chooses no confident targets")


def _unlabelled_frames(clips: Clips) -> torch.Tensor:
    """Cells without a strong label: (batch, frames, 1)."""
    return (~clips.frames_known[:, None] | clips.absent)[:, :, None]


def _mixed(clips: Clips, share: float) -> Clips:
    """Clips mixed in pairs, with all their labels; only clips with the same kinds of labels are mixed."""
    drawn = draw_mixup(len(clips), share)
    partner = drawn.partner.to(clips.log_mel.device)
    alike = (clips.frames_known == clips.frames_known[partner]) & (
        clips.clips_known == clips.clips_known[partner]
    )
    drawn = drawn._replace(own=torch.where(alike.cpu(), drawn.own, 1.0))
    return Clips(
        mixup(clips.log_mel, drawn),
        clips.absent & (clips.absent[partner] | (drawn.own == 1).to(clips.absent.device)[:, None]),
        mixup(clips.frame_targets, drawn),
        mixup(clips.clip_targets, drawn),
        clips.frames_known,
        clips.clips_known,
    )
