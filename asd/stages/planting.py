"""Test clips without test labels: normal training clips that are held out, as they are and with planted faults.

    <folder>/<machine>/train    the other training clips
    <folder>/<machine>/test     those held out, normal, and copies of each with a synthetic fault of `features.faults`

A data folder like any other: the stages train on it and evaluate it. How faults of a real machine sound is not known,
so what is chosen by them is good at finding many kinds of change, and no more is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from asd.challenge.names import CONDITION, format_name, parse_name
from asd.core.files import alone, atomic
from asd.core.runtime import epoch_seed, progress
from asd.data.codecs import write_wav
from asd.data.recordings import Recordings
from asd.features.faults import draw_kinds, with_faults
from asd.settings.config import Run
from asd.stages.jobs import dataset_of, load_training
from asd.types import AsdError, Clip, Domain, Label, Split

HELD_OUT = 4  # of so many training clips of a section and domain, one is held out, and two at least
COPIES = 2  # with a fault, of each clip that is held out
MOST_SECTIONS = 100  # that two digits tell apart


def plant(config: Run, machine: str, folder: Path, seed: int) -> None:
    """Writes the training and test clips of a machine, with faults that the seed fixes; what is there already stays."""
    place = folder / machine
    with alone(place):
        if place.is_dir():
            return
        recordings = load_training(config, dataset_of(config), machine).recordings
        held_out = _held_out(recordings.clips)
        recordings = replace(recordings, clips=_named(recordings.clips))
        with atomic(place) as temporary:
            (temporary / "train").mkdir(parents=True)
            (temporary / "test").mkdir()
            for i in progress(range(len(recordings)), f"{machine} faults"):
                if i in held_out:
                    _write_test(recordings, i, temporary / "test", seed)
                else:
                    name = _name(recordings.clips[i], i, Split.TRAIN, Label.NORMAL)
                    write_wav(temporary / "train" / name, recordings.recorded(i), recordings.sample_rate_hz)


def _named(clips: Sequence[Clip]) -> Sequence[Clip]:
    """The clips, whose sections and conditions are numbers where names of the challenge cannot say what they are."""
    if all(map(_has_a_name, clips)):
        return clips
    sections = sorted({clip.section for clip in clips})
    conditions = sorted({(*sorted(clip.attributes.items()),) for clip in clips})
    if len(sections) > MOST_SECTIONS:
        raise AsdError(
            f"{clips[0].machine} has {len(sections)} sections, and faults are planted in {MOST_SECTIONS} at most; "
            f"leave it out with machine=, or say judge=labels"
        )
    numbers = [conditions.index((*sorted(clip.attributes.items()),)) for clip in clips]
    return [
        replace(clip, section=f"{sections.index(clip.section):02d}", attributes={CONDITION: f"c{number}"})
        for clip, number in zip(clips, numbers, strict=True)
    ]


def _has_a_name(clip: Clip) -> bool:
    """Whether a name of the challenge holds the section and the attributes of a clip."""
    try:
        found = parse_name(Path(_name(clip, 0, Split.TRAIN, Label.NORMAL)), clip.machine, Split.TRAIN)
    except AsdError:
        return False
    return (found.section, found.attributes) == (clip.section, dict(clip.attributes))


def _held_out(clips: Sequence[Clip]) -> set[int]:
    """Indices of the clips that are held out, spread evenly over each section and domain."""
    groups: dict[tuple[str, Domain | None], list[int]] = {}
    for i, clip in enumerate(clips):
        groups.setdefault((clip.section, clip.domain), []).append(i)
    chosen: set[int] = set()
    for (section, domain), members in groups.items():
        if len(members) < 4:
            raise AsdError(
                f"{clips[0].machine} section {section} has {len(members)} {domain or ''} training clips, and two of "
                f"four at least have to be held out to plant faults in; leave it out with machine=, or say judge=labels"
            )
        count = max(2, len(members) // HELD_OUT)
        chosen |= {members[k] for k in np.linspace(0, len(members) - 1, count).round().astype(int)}
    return chosen


def _write_test(recordings: Recordings, i: int, folder: Path, seed: int) -> None:
    """A clip as it is, and copies of it with faults near the machine, each of another kind."""
    clip, sound, rate_hz = recordings.clips[i], recordings.recorded(i), recordings.sample_rate_hz
    write_wav(folder / _name(clip, i, Split.TEST, Label.NORMAL), sound, rate_hz)
    generator = torch.Generator().manual_seed(epoch_seed(seed, i))
    kinds = draw_kinds(1, COPIES, generator)[:, 0]
    near = torch.from_numpy(sound[0]).expand(COPIES, -1)
    for copy, faulty in enumerate(with_faults(near, kinds, rate_hz, generator)):
        name = _name(clip, i * COPIES + copy, Split.TEST, Label.ANOMALY)
        changed = np.concatenate([faulty.numpy()[None], sound[1:]])
        within_full_scale = changed / max(1.0, float(np.abs(changed).max()))
        write_wav(folder / name, within_full_scale.astype(np.float32), rate_hz)


def _name(clip: Clip, number: int, split: Split, label: Label) -> str:
    return format_name(clip.section, number, split=split, domain=clip.domain, label=label, attributes=clip.attributes)
