"""A data folder of event detection, read and checked as a whole before anything is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from asd.core.runtime import fingerprint
from asd.features.logmel import LogMel
from asd.sed import dataset
from asd.sed.config import Train
from asd.sed.dataset import Clips, MelStandardizer, Part
from asd.sed.labels import require_positives
from asd.types import AsdError


@dataclass(frozen=True)
class Corpus:
    """A data folder, read and checked once for all seeds.

    Attributes:
        classes: names, in the order of all class axes.
        clips: all training clips on the device, standardised.
        scale: by which.
        scored: parts that are scored when training is done, validation first.
        fingerprint: hash of recordings and tables.
    """

    classes: Sequence[str]
    clips: Clips
    scale: MelStandardizer
    scored: Sequence[Part]
    fingerprint: str


def read_corpus(config: Train, device: torch.device) -> Corpus:
    """Reads a data folder, and refuses it before long work where something is wrong.

    Args:
        config: where the folder is, and what is expected in it.
        device: where features are computed and stay.

    Raises:
        AsdError: recordings or tables that do not fit, or a class without an example.
    """
    data, rate = config.data, config.features.sample_rate_hz
    if not data.is_dir():
        raise AsdError(f"data={data} is not a folder; `python -m asd sed make-soundscapes out={data}` makes one")
    classes = dataset.find_classes(data, config.classes)
    parts = [dataset.read_part(data, name, classes, rate) for name in dataset.train_parts(data)]
    scored = [
        dataset.read_part(data, name, classes, rate)
        for name in ("validation", "test")
        if name == "validation" or (data / name).is_dir()
    ]
    clips = dataset.to_device(parts, classes, front_end(config), device)
    counts = clips.clip_targets[clips.clips_known].sum(0).tolist()
    require_positives(dict(zip(classes, counts, strict=True)), f"the training data in {data}")
    if config.loss.name == "ifl" or config.loss.graph:
        counts = clips.frame_targets[clips.frames_known].sum((0, 1)).tolist()
        require_positives(dict(zip(classes, counts, strict=True)), f"the strong labels in {data}")
    validation = scored[0].events
    if validation is not None:
        seen = validation["event_label"].value_counts()
        require_positives({name: seen.get(name, 0) for name in classes}, "the validation part")
    scale = MelStandardizer.of(clips)
    return Corpus(classes, scale(clips), scale, scored, _fingerprint([*parts, *scored], data))


def front_end(config: Train) -> LogMel:
    """What turns waveforms into log-mel levels."""
    return LogMel(**config.features.model_dump())


def _fingerprint(parts: Sequence[Part], data: Path) -> str:
    """Hash of recordings and tables: moved data is the same data."""
    tables = [data / f"{part.name}.tsv" for part in parts]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "" for path in tables]
    return fingerprint(
        [(part.name, part.recordings.fingerprint, table) for part, table in zip(parts, hashes, strict=True)]
    )
