"""A data folder of event detection: read and checked as a whole, then tensors that lie on the device as a whole.

    <data>/train_strong/*.wav       train_strong.tsv        events with their times
    <data>/train_soft/*.wav         train_soft.tsv          and the share of listeners who heard each
    <data>/train_weak/*.wav         train_weak.tsv          classes of each clip
    <data>/train_unlabelled/*.wav
    <data>/validation/*.wav         validation.tsv          strong; tunes thresholds and windows
    <data>/test/*.wav               test.tsv                strong; is measured

Of the training parts, those that exist are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from asd.core.runtime import file_hash, fingerprint, log
from asd.core.storage import list_names
from asd.data.recordings import Recordings, check
from asd.data.remarks import broken
from asd.features.logmel import LogMel
from asd.places import doubled, find_recordings, recording_key
from asd.sed import labels, tables
from asd.sed.config import Features, Train
from asd.types import AsdError, Clip, Split

TRAIN_PARTS = ("train_strong", "train_soft", "train_weak", "train_unlabelled")
SCORED_PARTS = ("validation", "test")


@dataclass(frozen=True)
class Part:
    """Recordings of one folder and the labels of its table."""

    name: str  # of the folder
    recordings: Recordings  # checked, in the order of their names
    events: pd.DataFrame | None = None  # strong or soft rows; None where times are not labelled
    names: Mapping[str, Sequence[str]] | None = None  # labels by file name; None where clips are not labelled

    @property
    def filenames(self) -> list[str]:
        """Of the clips, in order."""
        return [clip.name for clip in self.recordings.clips]

    @property
    def durations_s(self) -> dict[str, float]:
        """By file name."""
        return dict(zip(self.filenames, map(float, self.recordings.durations_s), strict=True))


@dataclass(frozen=True)
class Clips:
    """Clips on the device; those that end early are padded."""

    log_mel: torch.Tensor  # (clips, frames, mels) levels, dB or standardised
    padding: torch.Tensor  # (clips, frames) bool, True where a clip is over
    frame_targets: torch.Tensor  # (clips, frames, classes) from 0 to 1
    clip_targets: torch.Tensor  # (clips, classes) from 0 to 1
    frames_known: torch.Tensor  # (clips,) bool, whether frame targets mean anything
    clips_known: torch.Tensor  # (clips,) bool, likewise

    def __len__(self) -> int:
        return len(self.log_mel)

    @property
    def n_frames(self) -> torch.Tensor:
        """Of each clip, (clips,)."""
        return (~self.padding).sum(1)

    def at(self, indices: torch.Tensor) -> Clips:
        """Some of them."""
        return Clips(*(getattr(self, each.name)[indices] for each in fields(self)))


@dataclass(frozen=True)
class MelStandardizer:
    """Mean and standard deviation of each mel band, (mels,), in dB."""

    mean: torch.Tensor = field(repr=False)
    spread: torch.Tensor = field(repr=False)

    @classmethod
    def of(cls, clips: Clips) -> MelStandardizer:
        """Over all frames of the clips."""
        frames = clips.log_mel[~clips.padding]
        return cls(frames.mean(0), frames.std(0).clamp_min(1e-3))

    def __call__(self, clips: Clips) -> Clips:
        """The clips standardised; padding is 0."""
        scaled = (clips.log_mel - self.mean) / self.spread
        return replace(clips, log_mel=scaled.masked_fill(clips.padding.unsqueeze(-1), 0.0))


def read_part(data: Path, name: str, classes: Sequence[str], sample_rate_hz: int) -> Part:
    """A part of a data folder, its recordings and table checked; a part that is not for training is strong."""
    if name.startswith("train") and name not in TRAIN_PARTS:
        raise AsdError(f"{data / name} is none of the training parts {', '.join(TRAIN_PARTS)}; rename it")
    part = Part(name, list_wavs(data / name, sample_rate_hz))
    table = data / f"{name}.tsv"
    if name == "train_unlabelled":
        return part
    if name == "train_weak":
        weak = tables.read_weak(table, classes)
        meant = tables.join_names(weak, part.filenames, table)
        names: dict[str, list[str]] = {}
        for spelled, filename in meant.items():
            names[filename] = list(dict.fromkeys([*names.get(filename, []), *weak[spelled]]))
        return replace(part, names=names)
    events = (tables.read_soft if name == "train_soft" else tables.read_strong)(table, classes)
    meant = tables.join_names(events["filename"], part.filenames, table)
    events = events.assign(filename=events["filename"].map(meant)).dropna(subset="filename")
    events = events if name == "train_soft" else tables.merge_events(events, table)
    return replace(part, events=tables.cut_to_clips(events, part.durations_s, table))


def train_parts(data: Path) -> list[str]:
    """Training parts of a data folder; `AsdError` for a folder train* that is none, or a table without its folder."""
    found = {path.name for path in data.glob("train*") if path.is_dir()}
    if unknown := sorted(found - set(TRAIN_PARTS)):
        raise AsdError(f"{data / unknown[0]} is none of the training parts {', '.join(TRAIN_PARTS)}; rename it")
    for name in (*TRAIN_PARTS, *SCORED_PARTS):
        if not (data / name).is_dir() and (data / f"{name}.tsv").exists():
            what = f"{data / name}.tsv labels clips of {data / name}, which is no folder"
            raise AsdError(f"{what}; put them there, or remove the table")
    if not found:
        raise AsdError(f"{data} has no folder {' or '.join(TRAIN_PARTS)}; put the training clips there")
    return [name for name in TRAIN_PARTS if name in found]


def list_wavs(folder: Path, sample_rate_hz: int) -> Recordings:
    """All recordings of a folder, checked; two of one name would have one row of a table and one file of scores.

    Those that hold no sound are named: their labels may be right, as those of a pause are.
    """
    paths = find_recordings(folder)
    if not paths:
        what = "holds no WAV files" if folder.is_dir() else "is not a folder"
        raise AsdError(f"{folder} {what}; give one of recordings, as docs/sed.md describes them")
    if twice := doubled(path.name for path in paths):
        same = [path.name for path in paths if recording_key(path.name) == twice[0]]
        raise AsdError(f"{folder} holds {' and '.join(same)}, which tables cannot tell apart; rename one")
    clips = [Clip(path, "soundscape", "00", Split.TRAIN) for path in paths]
    recordings = check(clips, sample_rate_hz=sample_rate_hz)
    if beginning := broken(recordings, "recordings"):
        log.warning("%s: what is learnt from them, or found in them, means nothing", beginning)
    return recordings


def find_classes(data: Path, wanted: Sequence[str] = ()) -> list[str]:
    """The classes to learn: those wanted, else every label of the training tables, sorted.

    The command line cuts wanted labels at commas; those of the tables may have commas in them.
    """
    found: set[str] = set()
    for name in ("train_strong", "train_soft", "train_weak"):  # the weak last: only there commas part labels
        if (data / f"{name}.tsv").exists():
            found |= tables.labels_of(data / f"{name}.tsv", found | set(wanted))
    if wanted:
        return tables.split_labels(",".join(wanted), found)
    if not found:
        raise AsdError(
            f"{data} has no labelled training clips: train_strong.tsv, train_soft.tsv or train_weak.tsv; "
            f"`python -m asd sed make-soundscapes` makes such a folder"
        )
    return sorted(found)


def to_device(parts: Sequence[Part], classes: Sequence[str], features: Features, device: torch.device) -> Clips:
    """Log-mel levels and targets of all clips of the parts, in order."""
    front = LogMel(**features.model_dump()).to(device)
    lengths = np.concatenate([part.recordings.lengths_samples for part in parts])
    n_frames = front.n_frames(int(lengths.max()))
    log_mel = torch.zeros(len(lengths), n_frames, features.n_mels, device=device)
    frame_targets = torch.zeros(len(lengths), n_frames, len(classes))
    clip_targets = torch.zeros(len(lengths), len(classes))
    known = torch.zeros(2, len(lengths), dtype=torch.bool)
    first = 0
    for part in parts:
        with torch.no_grad():
            for indices, waveforms in part.recordings.batches(device):
                levels = front(waveforms).transpose(1, 2)
                log_mel[torch.from_numpy(indices).to(device) + first, : levels.shape[1]] = levels
        own = slice(first, first + len(part.recordings))
        frame_targets[own], clip_targets[own], known[:, own] = _targets(part, classes, front, n_frames)
        first += len(part.recordings)
    ends = torch.tensor([front.n_frames(int(length)) for length in lengths])
    padding = torch.arange(n_frames)[None] >= ends[:, None]
    return Clips(log_mel, *(tensor.to(device) for tensor in (padding, frame_targets, clip_targets, *known)))


def _targets(
    part: Part, classes: Sequence[str], front: LogMel, n_frames: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Targets of frames and of clips, and whether they are known: (clips, ...), (clips, classes), (2, 1)."""
    frames = np.zeros((len(part.recordings), n_frames, len(classes)), np.float32)
    if part.events is not None:
        by_name: dict[Any, pd.DataFrame] = dict(list(part.events.groupby("filename")))
        step_s = front.hop_samples / part.recordings.sample_rate_hz
        for i, clip in enumerate(part.recordings.clips):
            end = front.n_frames(int(part.recordings.lengths_samples[i]))
            frames[i, :end] = labels.frame_targets(by_name[clip.name], classes, end, step_s)
        clips = frames.max(1)
    elif part.names is not None:
        clips = np.stack([labels.clip_targets(part.names[name], classes) for name in part.filenames])
    else:
        clips = np.zeros((len(part.recordings), len(classes)), np.float32)
    known = torch.tensor([[part.events is not None], [part.events is not None or part.names is not None]])
    return torch.from_numpy(frames), torch.from_numpy(clips), known


@dataclass(frozen=True)
class Corpus:
    """A data folder, read and checked once for all seeds."""

    classes: Sequence[str]  # names, in the order of all class axes
    clips: Clips  # all training clips on the device, standardised
    scale: MelStandardizer  # by which
    scored: Sequence[Part]  # parts that are scored when training is done, validation first
    fingerprint: str  # hash of recordings and tables


def read_corpus(config: Train, device: torch.device) -> Corpus:
    """Reads a data folder, and refuses it before long work where something is wrong."""
    data, rate = config.data, config.features.sample_rate_hz
    list_names(data)
    if not data.is_dir():
        raise AsdError(f"data={data} is not a folder; `python -m asd sed make-soundscapes out={data}` makes one")
    classes = find_classes(data, config.classes)
    if taken := {*tables.STRONG_COLUMNS} & {*classes}:
        raise AsdError(f"{data} has the class {min(taken)}, as a column of tables of scores is called; rename it")
    parts = [read_part(data, name, classes, rate) for name in train_parts(data)]
    scored = [
        read_part(data, name, classes, rate) for name in SCORED_PARTS if name == "validation" or (data / name).is_dir()
    ]
    clips = to_device(parts, classes, config.features, device)
    counts = clips.clip_targets[clips.clips_known].sum(0).tolist()
    labels.require_positives(classes, counts, f"the training data in {data}")
    if config.loss.name == "ifl" or config.loss.graph:
        counts = clips.frame_targets[clips.frames_known].sum((0, 1)).tolist()
        labels.require_positives(classes, counts, f"the strongly labelled data in {data}")
    if (validation := scored[0].events) is not None:
        seen = validation["event_label"].value_counts()
        labels.require_positives(classes, (seen.get(name, 0) for name in classes), "the validation part")
    scale = MelStandardizer.of(clips)
    return Corpus(classes, scale(clips), scale, scored, _fingerprint([*parts, *scored], data))


def _fingerprint(parts: Sequence[Part], data: Path) -> str:
    """Hash of recordings and tables: moved data is the same data."""
    by_part = {part.name: data / f"{part.name}.tsv" for part in parts}
    hashes = {name: file_hash(table) if table.exists() else "" for name, table in by_part.items()}
    return fingerprint([(part.name, part.recordings.fingerprint, hashes[part.name]) for part in parts])
