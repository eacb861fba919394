"""Learning from clips without labels, by a teacher that is the student's running average.

    student ──EMA──► `EmaTeacher` ─► probabilities ─┬─ all of them ────────────► `Consistency`
                                                    └─ `Confident` ones only ─► targets and weights of a BCE

How strongly all this counts at which step is a ramp of `asd.core.update`.

Two rules make targets of confident predictions alone (confident mean teacher, CMT). They turn the teacher's
probabilities of clips, y_w, and of frames, y_s, into masks of confident positives and negatives, and weights c for a
BCE of the student's logits; MF is a median filter per class:

    cmt_normal    positive_w = y_w > phi_w                         c_w = y_w positive_w
                  positive_s = MF(y_w > phi_w and y_s > phi_s)     c_s = y_s y_w positive_s
                  nothing is negative, so the student can only be pushed up
    cmt_neg       positive = MF(y >= phi_pos)                      c = y where positive,
                  negative = MF(y <= phi_neg)                          1 - y where negative
                  clips and frames judged apart (MF on frames only)

The masks are filtered, not the targets: a median of 0, 1 and "not sure" would make up values in between.
Of two masks that exclude each other at most one has the majority of an odd window, so they still do after it.

Most cells of most clips are confidently silent. Under cmt_neg the negatives therefore carry nearly all of the
weight unless `balance` is on; both masses are returned, to be logged.

    clips, frames = cmt_neg(*teacher_probabilities)
    loss = bce(clip_logits, clips.targets, clips.weight) + bce(frame_logits, frames.targets, frames.weight)

The reduction "mean" of that BCE divides by all cells, "mean_active" by those with a weight.

Sources: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017; Xiao et al., arXiv 2302.09256
(cmt_normal). cmt_neg is a variant of the latter that was used on the DCASE 2024 baseline of task 4, where the masks
were not kept apart from the targets.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, get_args

import torch
from torch import nn
from torch.nn.functional import avg_pool1d

from asd.core.losses.cells import CellLoss, Cells
from asd.types import AsdError

# What becomes of the buffers, above all the running statistics of batch normalisation: the student's at every update
# ("copy"), or averaged like the parameters, integers copied ("ema"). Averaging the parameters alone would leave them at
# their first values for ever.
Buffers = Literal["copy", "ema"]


class EmaTeacher(nn.Module):
    """Exponential moving average of a student; gives no gradient and takes none, and always runs in eval mode.

    Update n, counted from 0, keeps the share min(1 - 1 / (n + 1), decay) of the teacher: the first one copies
    the student, the next ones average all students so far, until `decay` forgets the oldest. With "copy" this
    equals `torch.optim.swa_utils.AveragedModel` with that averaging.

    The state dictionary holds the module and the number of updates, so a resumed run goes on as it would have.
    `AsdError` for a decay out of range or an unknown policy.
    """

    n_updates: torch.Tensor

    def __init__(self, student: nn.Module, decay: float = 0.999, buffers: Buffers = "copy") -> None:
        super().__init__()
        if not 0 <= decay < 1 or buffers not in get_args(Buffers):
            raise AsdError(
                f"an EMA teacher needs a decay from 0 to below 1 and buffers out of "
                f"{', '.join(get_args(Buffers))}; got {decay} and {buffers!r}"
            )
        self.module = copy.deepcopy(student).requires_grad_(False)
        self.decay, self.buffer_policy = decay, buffers
        device = next(student.parameters()).device
        # A tensor where the parameters are: the GPU never waits to learn which update this is.
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.int64, device=device))
        self.train(student.training)

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged module returns."""
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Train mode does not reach the averaged module."""
        super().train(mode)
        self.module.eval()
        return self

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Moves the average to the student's present parameters; to be called after each optimiser step."""
        share = torch.clamp(1 / (self.n_updates + 1.0), min=1 - self.decay)
        self.n_updates += 1
        for average, weight in zip(self.module.parameters(), student.parameters(), strict=True):
            average.lerp_(weight, share.to(average.dtype))
        for mine, buffer in zip(self.module.buffers(), student.buffers(), strict=True):
            if self.buffer_policy == "ema" and mine.is_floating_point():
                mine.lerp_(buffer, share.to(mine.dtype))
            else:
                mine.copy_(buffer)


class Consistency(CellLoss):
    """Squared distance between the student's and the teacher's probabilities, of clips or of frames.

    Called as consistency(student_logits, teacher_probabilities, weight=None, ignore=None); no gradient flows
    into the teacher.
    """

    def _cell_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (logits.sigmoid() - targets.detach()).square()


def median_filter(values: torch.Tensor, windows_frames: Sequence[int]) -> torch.Tensor:
    """Each class smoothed in time by the median over its own window, without a loop over clips or frames.

    The clip is continued as its mirror image (d c b a | a b c d | d c b a), as `scipy.ndimage.median_filter`
    does by default. The numbers are the same, but where half a window is longer than the clip: there the mirror
    images repeat, and scipy's fast path along one axis reads other frames.

    Args:
        values: (batch, frames, classes) bool or floating point; a mask becomes True where most of its window is.
        windows_frames: odd length of each class's window.

    Raises:
        AsdError: an even length, or not one for each class.
    """
    windows = [int(window) for window in windows_frames]
    if len(windows) != values.shape[-1] or any(window < 1 or window % 2 == 0 for window in windows):
        raise AsdError(
            f"a median filter over {values.shape[-1]} classes needs as many odd windows from 1 on; got {windows}"
        )
    filtered = torch.empty_like(values)
    for window in sorted(set(windows)):  # few: classes of the same window go together
        classes = [k for k, other in enumerate(windows) if other == window]
        mirrored = _mirrored(values[..., classes], window // 2)
        if values.dtype == torch.bool:  # the majority, for which no window is copied
            filtered[..., classes] = avg_pool1d(mirrored.mT.float(), window, 1).mT > 0.5
        else:
            filtered[..., classes] = mirrored.unfold(1, window, 1).median(-1).values
    return filtered


def _mirrored(values: torch.Tensor, margin: int) -> torch.Tensor:
    """Frames continued by `margin` on both sides; the mirror images repeat where the clip is shorter."""
    n_frames = values.shape[1]
    position = torch.arange(-margin, n_frames + margin, device=values.device) % (2 * n_frames)
    return values[:, torch.minimum(position, 2 * n_frames - 1 - position)]


@dataclass(frozen=True, slots=True)
class Confident:
    """Confident predictions of the teacher; what is neither positive nor negative is to be ignored."""

    positive: torch.Tensor  # bool, surely active
    negative: torch.Tensor  # bool, surely inactive; nowhere positive too
    weight: torch.Tensor  # float, 0 where neither
    positive_mass: torch.Tensor  # scalar, sum of the weights of the positives before balancing
    negative_mass: torch.Tensor  # scalar, likewise

    @property
    def targets(self) -> torch.Tensor:
        """1 where positive, else 0; as float."""
        return self.positive.to(self.weight.dtype)


class ConfidentTargets(NamedTuple):
    """Targets of a batch: clips (batch, classes) and frames (batch, frames, classes)."""

    clips: Confident
    frames: Confident


@torch.no_grad()
def cmt_normal(
    clips: torch.Tensor,
    frames: torch.Tensor,
    *,
    clip_threshold: float = 0.5,
    frame_threshold: float = 0.5,
    windows_frames: Sequence[int] | None = None,
    ignore: torch.Tensor | None = None,
) -> ConfidentTargets:
    """Confident positives only; a frame counts only where its clip does.

    Args:
        clips: (batch, classes) the teacher's probabilities y_w.
        frames: (batch, frames, classes) likewise, y_s.
        clip_threshold: phi_w.
        frame_threshold: phi_s.
        windows_frames: odd window of the median filter, per class; None: no filter.
        ignore: (batch, frames or 1, classes or 1) bool, cells that no target is made of. A clip's class is
            ignored where all its frames are.
    """
    _require_probability_range(clip_threshold, frame_threshold)
    clip_cells, frame_cells = _cells(clips, frames, ignore)
    clips, frames = clip_cells.clean(clips), frame_cells.clean(frames)
    sure_clips = (clips > clip_threshold) & clip_cells.counted
    sure_frames = sure_clips.unsqueeze(1) & (frames > frame_threshold) & frame_cells.counted
    sure_frames = _smooth(sure_frames, windows_frames) & frame_cells.counted
    return ConfidentTargets(
        _weighed(clips, sure_clips, torch.zeros_like(sure_clips)),
        _weighed(frames * clips.unsqueeze(1), sure_frames, torch.zeros_like(sure_frames)),
    )


@torch.no_grad()
def cmt_neg(
    clips: torch.Tensor,
    frames: torch.Tensor,
    *,
    positive_threshold: float = 0.7,
    negative_threshold: float = 0.3,
    windows_frames: Sequence[int] | None = None,
    balance: bool = False,
    ignore: torch.Tensor | None = None,
) -> ConfidentTargets:
    """Confident positives and confident negatives, clips and frames judged apart.

    Args:
        balance: scales the heavier of positives and negatives down to the mass of the lighter, for clips and
            frames apart (elsewhere `pos_neg_scale`). Where one has no mass, neither has.

    Raises:
        AsdError: a threshold outside [0, 1], or that of negatives not below that of positives.
    """
    _require_probability_range(positive_threshold, negative_threshold)
    if not negative_threshold < positive_threshold:
        raise AsdError(
            f"the threshold of negatives, {negative_threshold}, must lie below that of positives, {positive_threshold}"
        )

    def judge(values: torch.Tensor, cells: Cells, windows: Sequence[int] | None) -> Confident:
        values = cells.clean(values)
        masks = (values >= positive_threshold, values <= negative_threshold)
        positive, negative = (_smooth(mask & cells.counted, windows) & cells.counted for mask in masks)
        return _weighed(values, positive, negative, balance)

    clip_cells, frame_cells = _cells(clips, frames, ignore)
    return ConfidentTargets(judge(clips, clip_cells, None), judge(frames, frame_cells, windows_frames))


def _weighed(values: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, balance: bool = False) -> Confident:
    """Weights: the value of a positive, one minus the value of a negative."""
    # A NaN is on no side of any threshold; as a weight it stops the training instead of going unseen.
    up = torch.where(positive | values.isnan(), values, 0.0)
    down = torch.where(negative, 1 - values, 0.0)
    positive_mass, negative_mass = up.sum(), down.sum()
    if balance:
        lighter = torch.minimum(positive_mass, negative_mass)
        up = up * _ratio(lighter, positive_mass)
        down = down * _ratio(lighter, negative_mass)
    return Confident(positive, negative, up + down, positive_mass, negative_mass)


def _ratio(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a / torch.where(b > 0, b, 1.0)


def _smooth(mask: torch.Tensor, windows_frames: Sequence[int] | None) -> torch.Tensor:
    return mask if windows_frames is None else median_filter(mask, windows_frames)


def _cells(clips: torch.Tensor, frames: torch.Tensor, ignore: torch.Tensor | None) -> tuple[Cells, Cells]:
    if clips.ndim != 2 or frames.ndim != 3 or clips.shape != (len(frames), frames.shape[2]):
        raise AsdError(
            f"probabilities of clips (batch, classes) and of frames (batch, frames, classes) do not fit: got "
            f"{tuple(clips.shape)} and {tuple(frames.shape)}"
        )
    frame_cells = Cells.of(frames, ignore=ignore)
    return Cells.of(clips, ignore=~frame_cells.counted.any(1)), frame_cells


def _require_probability_range(*thresholds: float) -> None:
    if not all(0 <= threshold <= 1 for threshold in thresholds):
        raise AsdError(f"thresholds of probabilities lie from 0 to 1; got {thresholds}")
