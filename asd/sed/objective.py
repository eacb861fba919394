"""Loss of a batch of clips: from labels where there are any, from the teacher where there are none.

strong         loss of the frames of clips with strong or soft labels
weak           BCE of the clips whose labels are known, however they are
activity       BCE of whether there is any event, per frame (SED + SAD)
graph          penalty on unequal activity of classes that co-occur (GLR)
consistency    with the teacher where labels are missing: frames of clips without times, clips without labels

total = strong + loss.weak weak + loss.activity activity + loss.graph graph
        + teacher.weight ramp(step) (consistency_clips + consistency_frames)
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from asd.core.losses.binary import Bce, InverseFrequency, decision_loss
from asd.core.losses.graph import GraphLaplacian, co_occurrence
from asd.core.losses.multitask import EventsAndActivity
from asd.core.networks.frame_classifiers import EventLogits, EventNetwork
from asd.core.semi import Consistency, EmaTeacher, cmt_neg, cmt_normal
from asd.core.update import exponential_ramp
from asd.features.augment import draw_masks, draw_mixup, mask, mixup
from asd.sed.config import Train
from asd.sed.dataset import Clips
from asd.types import AsdError

Terms = dict[str, torch.Tensor]


class Objective:
    """Loss of a batch of clips, given by their indices; differentiable in the student.

    Args:
        clips: all of them, on the device, standardised.
    """

    def __init__(self, config: Train, student: EventNetwork, teacher: EmaTeacher, clips: Clips) -> None:
        self.student, self.teacher, self.clips = student, teacher, clips
        self.loss, self.semi, self.augment = config.loss, config.teacher, config.augment
        loss = config.loss
        steps_per_epoch = math.ceil(len(clips) / config.training.batch_size)
        self.ramp_steps = round(config.teacher.ramp_epochs * steps_per_epoch)
        strong = clips.frame_targets[clips.frames_known]
        if loss.name == "ifl":
            ended = clips.padding[clips.frames_known].unsqueeze(-1).expand_as(strong)
            self.strong: nn.Module = InverseFrequency.from_labels(strong, ended, **loss.own())
        else:
            self.strong = decision_loss(loss.name, **loss.own())
        self.bce = Bce()
        self.activity = EventsAndActivity(self.strong, loss.activity) if loss.activity else None
        self.graph = GraphLaplacian(co_occurrence(strong), frames="mean") if loss.graph else None

    def __call__(self, indices: torch.Tensor) -> tuple[torch.Tensor, Terms]:
        """Loss of the clips (batch,), and its terms."""
        clips, blanked = self._batch(indices)
        logits: EventLogits = self.student(blanked, clips.padding)
        total, terms = self._strong(logits, clips)
        terms["weak"] = self.bce(logits.clips, clips.clip_targets, ignore=~clips.clips_known[:, None])
        total = total + self.loss.weak * terms["weak"]
        if self.graph is not None:
            terms["graph"] = self.graph(logits.frames, ignore=_unlabelled_frames(clips))
            total = total + self.loss.graph * terms["graph"]
        if self.semi.method != "none":
            terms |= self._consistency(logits, clips)
            ramp = exponential_ramp(float(self.teacher.n_updates), self.ramp_steps)
            total = total + self.semi.weight * ramp * (terms["consistency_clips"] + terms["consistency_frames"])
        return total, terms

    def _batch(self, indices: torch.Tensor) -> tuple[Clips, torch.Tensor]:
        """Clips, mixed, and their levels as the student gets them, blanked; the teacher gets all of them."""
        clips = self.clips.at(indices)
        if self.augment.mixup:
            clips = _mixed(clips, self.augment.mixup)
        student = clips.log_mel
        if self.augment.mask:
            blanks = draw_masks(len(clips), self.augment.mask)
            student = mask(student.transpose(1, 2), blanks).transpose(1, 2)
        return clips, student

    def _strong(self, logits: EventLogits, clips: Clips) -> tuple[torch.Tensor, Terms]:
        unlabelled = _unlabelled_frames(clips)
        if self.activity is None:
            loss = self.strong(logits.frames, clips.frame_targets, ignore=unlabelled)
            return loss, {"strong": loss}
        both = self.activity(logits.frames, logits.activity, clips.frame_targets, ignore=unlabelled)
        return both.total, {"strong": both.terms["events"], "activity": both.terms["activity"]}

    def _consistency(self, logits: EventLogits, batch: Clips) -> Terms:
        """Distances from the teacher for clips and frames without labels, and the masses of confident targets."""
        semi = self.semi
        taught: EventLogits = self.teacher(batch.log_mel, batch.padding)
        clip_labels = batch.clips_known[:, None]
        frame_labels = batch.frames_known[:, None, None] | batch.padding[:, :, None]
        y_clips, y_frames = taught.clips.float().sigmoid(), taught.frames.float().sigmoid()
        if semi.method == "mean_teacher":
            distance = Consistency()
            return {
                "consistency_clips": distance(logits.clips, y_clips, ignore=clip_labels),
                "consistency_frames": distance(logits.frames, y_frames, ignore=frame_labels),
            }
        shared: dict[str, Any] = {"windows_frames": [semi.window_frames] * y_frames.shape[2], "ignore": frame_labels}
        if semi.method == "cmt_normal":
            shared |= {"clip_threshold": semi.positive, "frame_threshold": semi.positive}
            sure = cmt_normal(y_clips, y_frames, **shared)
        elif semi.method == "cmt_neg":
            shared |= {"positive_threshold": semi.positive, "negative_threshold": semi.negative}
            sure = cmt_neg(y_clips, y_frames, balance=semi.balance, **shared)
        else:
            raise AsdError(f"the teacher of method={semi.method} chooses no confident targets")
        return {
            "consistency_clips": self.bce(logits.clips, sure.clips.targets, sure.clips.weight, clip_labels),
            "consistency_frames": self.bce(logits.frames, sure.frames.targets, sure.frames.weight, frame_labels),
            **{f"positive_mass_{kind}": each.positive_mass for kind, each in sure._asdict().items()},
            **{f"negative_mass_{kind}": each.negative_mass for kind, each in sure._asdict().items()},
        }


def _unlabelled_frames(clips: Clips) -> torch.Tensor:
    """Cells without a strong label: (batch, frames, 1)."""
    return (~clips.frames_known[:, None] | clips.padding)[:, :, None]


def _mixed(clips: Clips, share: float) -> Clips:
    """Clips mixed in pairs, with all their labels; only clips with the same kinds of labels are mixed."""
    drawn = draw_mixup(len(clips), share)
    partner = drawn.partner.to(clips.log_mel.device)
    alike = (clips.frames_known == clips.frames_known[partner]) & (clips.clips_known == clips.clips_known[partner])
    drawn = drawn._replace(own=torch.where(alike.cpu(), drawn.own, 1.0))
    mixed = {name: mixup(getattr(clips, name), drawn) for name in ("log_mel", "frame_targets", "clip_targets")}
    alone = (drawn.own == 1).to(clips.padding.device)[:, None]
    return replace(clips, **mixed, padding=clips.padding & (clips.padding[partner] | alone))
