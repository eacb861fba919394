"""Recordings from what a user names: arrays; or a file, a folder, a pattern, a table, or several of these."""

from __future__ import annotations

import logging
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from glob import glob, has_magic
from itertools import takewhile
from os import PathLike
from os.path import lexists
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.challenge.names import parse_name
from asd.core.runtime import log
from asd.core.storage import list_names
from asd.data.audio import chosen_channels, read_sound
from asd.data.codecs import check_levels
from asd.data.dataset import HELD_OUT, OwnData, own_data
from asd.data.layouts import REGISTRY, Layout
from asd.data.layouts.table import read_table
from asd.data.layouts.words import SAYS_NO_MORE, meaning, names_fault, section_by
from asd.data.recordings import Recordings, check, in_memory
from asd.data.remarks import check_units, notices, of_training, tell
from asd.places import braced, find_in_tree, is_recording, is_table, mirrored, spelled, walk_tree
from asd.types import NEAR, AsdError, Clip, FrontEnd, Label, Split, named

Waveform = npt.NDArray[Any]  # (samples,), or (microphones, samples) with the one near the machine first
Files = str | Path | Iterable[str | Path]  # a file, a folder, a pattern, a table, or several of these


def training_recordings(
    normal: Any, sample_rate_hz: int | None, machine: str, front_end: FrontEnd = NEAR
) -> Recordings:
    """Whatever is given to `asd.fit` as checked recordings: `Recordings`, waveforms, or what `clips_of_files` takes.

    Waveforms have the sample rate, and files are brought to it; None takes that of the first file. `AsdError` where
    there are none, one cannot be used, or the sample rate of waveforms is missing.
    """
    if isinstance(normal, Recordings):
        if front_end not in (NEAR, normal.front_end):
            raise AsdError("the recordings have a front end of their own; leave channel= and frontend= out")
        return normal
    if isinstance(normal, bytes) or not isinstance(normal, (str, Path, Iterable)):
        what = f"{reprlib.repr(normal)} is neither recordings nor waveforms"
        raise AsdError(f"{what}; give a folder, files or a list of waveforms")
    _refuse_table(normal)
    normal = normal if isinstance(normal, (str, Path, np.ndarray)) else list(normal)
    if not isinstance(normal, Path) and not len(normal):
        raise AsdError("there are no recordings; give some of the machine in good order")
    if isinstance(normal, (str, Path)) or any(isinstance(one, (str, Path)) for one in normal):
        clips = _of_one_machine(clips_of_files(normal, machine, Split.TRAIN), machine)
        rate_hz = sample_rate_hz or read_sound(clips[0].path).sample_rate_hz
        recordings = check(clips, sample_rate_hz=rate_hz, front_end=front_end, resample=True)
    elif sample_rate_hz is None:
        raise AsdError("sample_rate_hz= is missing; waveforms do not tell it, so give it, such as sample_rate_hz=16000")
    else:
        recordings = from_arrays(normal, sample_rate_hz, front_end, Split.TRAIN, machine)
    check_units(recordings)
    tell(logging.INFO, machine, notices(recordings))
    tell(logging.WARNING, machine, of_training(recordings))
    return recordings


def from_arrays(
    waveforms: Sequence[Waveform],
    sample_rate_hz: int,
    front_end: FrontEnd,
    split: Split,
    machine: str = "machine",
    section: str = "00",
) -> Recordings:
    """Waveforms of one machine and section as recordings; `AsdError` where they are none that a recording holds."""
    arrays = [_array(i, waveform) for i, waveform in enumerate(waveforms)]
    for i, array in enumerate(arrays):
        what = f"waveform {i}"
        if not array.ndim:
            what = f"{reprlib.repr(array.item())} is no waveform"
            raise AsdError(f"{what}; give a list of waveforms, each (samples,): a single one as [waveform]")
        if array.ndim not in (1, 2):
            raise AsdError(
                f"{what} has {array.ndim} dimensions; it has to be (samples,) or (microphones, samples), and several "
                f"are given as a list of them"
            )
        if not np.issubdtype(array.dtype, np.floating):
            raise AsdError(f"{what} holds {array.dtype}, not floats with full scale 1; divide 16-bit integers by 32768")
        if len(array) > array.shape[-1]:
            raise AsdError(f"{what} has the shape {array.shape}, and (microphones, samples) is wanted; transpose it")
        what = what if len(arrays) > 1 else "a waveform in memory"
        if not array.size:
            raise AsdError(f"{what} holds no samples; leave it out")
        check_levels(what, array)
    if front_end.channel is None and front_end.n_microphones == 1:
        _warn_of_channels(max((len(array) for array in arrays if array.ndim > 1), default=1))
    label = Label.NORMAL if split is Split.TRAIN else None
    clips = [Clip(Path(f"waveform {i}"), machine, section, split, None, label) for i in range(len(arrays))]
    if front_end.channel is not None:
        arrays = [
            chosen_channels(str(clip.path), array, 1, front_end.channel) if array.ndim > 1 else array
            for clip, array in zip(clips, arrays, strict=True)
        ]
    return in_memory([array.astype(np.float32) for array in arrays], sample_rate_hz, clips, front_end)


def _array(i: int, waveform: Any) -> npt.NDArray[Any]:
    """An array of whatever holds numbers: a tensor with gradients, on a GPU or in bfloat16, too."""
    import torch

    if isinstance(waveform, (str, bytes, PathLike)):
        raise AsdError(f"{reprlib.repr(waveform)} is no waveform; score_files takes files, and folders of them")
    if np.ma.is_masked(waveform):
        raise AsdError(f"waveform {i} has masked samples; fill them, or leave it out")
    if isinstance(waveform, torch.Tensor):
        waveform = waveform.detach().cpu()
        waveform = waveform.float() if waveform.dtype is torch.bfloat16 else waveform
    try:
        return np.asarray(waveform)
    except (TypeError, ValueError) as error:
        raise AsdError(f"waveform {i} is no array of samples ({error}); give each as (samples,)") from error


def _refuse_table(normal: Any) -> None:
    """Refuses what lists its columns or keys where its recordings are meant."""
    if isinstance(normal, (Mapping, pd.DataFrame)):
        raise AsdError(
            f"a {type(normal).__name__} is no list of recordings; give the file of a table, or a list, such as "
            f"list(table['path'])"
        )


@cache
def _warn_of_channels(n: int) -> None:
    """Says once that of several channels the first is used: they may have been meant as several recordings."""
    if n > 1:
        log.warning(
            "a waveform of %d rows is one recording with so many channels, and the first is used; fit with channel= "
            "for another or for their mean, and give several recordings one by one",
            n,
        )


def clips_of_files(paths: Files, machine: str, split: Split) -> list[Clip]:
    """Recordings in files, with what their names tell where they are names of the challenge.

    Folders are searched at any depth, and a pattern is such as `new/*.flac`. `machine` is used where a table does not
    say which. To learn from, a table or a folder in one of the layouts gives its training clips. `AsdError` where there
    are none, or one to learn from is an anomaly by its name.
    """
    _refuse_table(paths)
    several = list(paths) if isinstance(paths, Iterable) and not isinstance(paths, str) else [paths]
    if unknown := [place for place in several if not (isinstance(place, Path) or (isinstance(place, str) and place))]:
        raise AsdError(f"{reprlib.repr(unknown[0])} names no recordings; give a file, a folder, a pattern or a table")
    clips = [clip for place in several for clip in _found(place, machine, split)]
    if not clips:
        raise AsdError("there are no recordings; give a file, a folder, a pattern or a table")
    repeated = {name for name, count in Counter(clip.path.name for clip in clips).items() if count > 1}
    return [replace(c, file=spelled(str(c.path))) if c.path.name in repeated and not c.file else c for c in clips]


def given_data(normal: str, abnormal: str | None, machines: Sequence[str], held_out: float = HELD_OUT) -> OwnData:
    """Normal recordings, and anomalous ones for the check, each named by a file, a folder, a pattern or a table."""
    machine = machines[0] if len(machines) == 1 and machines[0] != "all" else ""
    clips = _of_one_machine(clips_of_files(normal, machine, Split.TRAIN), machine)
    machine = machine or clips[0].machine
    if abnormal:
        learnt = {clip.section for clip in clips}
        for clip in _of_one_machine(clips_of_files(abnormal, machine, Split.TEST), machine):
            section = clip.section if clip.section in learnt else "00"
            clips.append(replace(clip, label=Label.ANOMALY, section=section))
    clips = [replace(clip, machine="") for clip in clips]
    return own_data(Path(normal), "given", clips, [machine] if machine else machines, held_out)


def _of_one_machine(clips: list[Clip], machine: str) -> list[Clip]:
    """The clips of a machine where tables name several; `AsdError` where it is none of them."""
    names = {clip.machine for clip in clips if clip.machine}
    if machine in names:
        return [clip for clip in clips if clip.machine == machine]
    if len(names) > 1:
        raise AsdError(
            f"the tables list recordings of several machines ({named(sorted(names))}), and a model is of one; say "
            f"which by machine=, or train all by data="
        )
    return clips


def _found(place: str | Path, machine: str, split: Split) -> list[Clip]:
    """The recordings of one place: a name that is there is not taken for a pattern."""
    path = mirrored(place)
    if len(each := braced(str(place))) > 1 and not lexists(path):
        return [clip for pattern in each for clip in _found(pattern, machine, split)]
    list_names(path)
    if path.is_dir():
        if split is Split.TRAIN and (learnt := _to_learn_from(path, machine)):
            return learnt
        found = find_in_tree(path)
    elif is_table(path):
        return _listed(path, machine, split)
    elif lexists(path):  # a broken link is named when it is read
        found = [path]
    elif not has_magic(str(place)):
        raise AsdError(f"{place} does not exist; name a file, a folder, a pattern or a table of recordings")
    else:
        matches = map(Path, sorted(glob(str(path), recursive=True)))
        inside = [find_in_tree(match) if match.is_dir() else [match] for match in matches]
        every = [file for files in inside for file in files if is_recording(file)]
        every.sort(key=lambda file: (len(file.parts), file), reverse=True)
        found = sorted({file.resolve(): file for file in every}.values())  # once, though links lead to it
    if not found:
        what = "holds" if path.is_dir() else "matches"
        raise AsdError(f"{place} {what} no recordings; name a folder with some, files, or a table of them")
    if split is not Split.TRAIN:
        return [_named(Clip(file, machine, section_by(file.absolute().parts[-2::-1]), split)) for file in found]
    for file in found:
        _refuse_fault(file, path)
    if names_fault(path.name):  # which may be that of a project
        log.warning("%s names a fault, and all recordings in it are learnt as normal", path)
    return [_named(Clip(file, machine, "00", split, None, Label.NORMAL)) for file in found]


def _refuse_fault(file: Path, place: Path) -> None:
    """Refuses to learn from an anomaly: by the name of the file, of a folder in the given one, or of that."""
    if names_fault(file.stem):
        raise _anomaly(file, "name")
    n_given = len(place.parts) if lexists(place) else len([*takewhile(lambda part: not has_magic(part), place.parts)])
    words = (word for folder in file.absolute().parents if (word := meaning(folder.name)) not in SAYS_NO_MORE)
    is_called = Label.ANOMALY in (next(words, ""), meaning(place.absolute().name))
    if is_called or any(map(names_fault, file.parts[n_given:-1])):
        raise _anomaly(file, "folder's name")


def _to_learn_from(folder: Path, machine: str) -> list[Clip]:
    """The training clips of a folder in one of the layouts; [] where nothing in it tells one recording from another."""
    files = sorted(walk_tree(folder))
    found = next((clips for layout in REGISTRY.values() if (clips := _laid_out(layout, folder, files))), [])
    learnt = [clip for clip in found if clip.split is Split.TRAIN and clip.label is not Label.ANOMALY]
    names = {clip.machine for clip in learnt}
    if machine in names:
        learnt = [clip for clip in learnt if clip.machine == machine]
    elif len(names) > 1:
        log.warning(
            f"{folder} has folders as of several machines ({named(sorted(names))}), and all are learnt as one; "
            f"machine= takes one of them, data= trains each by itself"
        )
    if not learnt and any(clip.label is Label.ANOMALY for clip in found):
        raise AsdError(f"{folder} holds recordings of faults and no normal ones; name a folder with normal ones")
    n = sum(map(is_recording, files))
    if learnt and len(learnt) < n:
        log.info("%s: %d of %d recordings are no normal training clips, and left out", folder, n - len(learnt), n)
    return [_named(replace(clip, machine=machine, label=Label.NORMAL)) for clip in learnt]


def _laid_out(layout: Layout, folder: Path, files: Sequence[Path]) -> list[Clip] | None:
    """The clips of a folder in a layout; None where it does not fit and no name in it names a fault."""
    try:
        return layout(folder, files)
    except AsdError:
        if any(names_fault(part) for path in files for part in path.relative_to(folder).with_suffix("").parts):
            raise
        return None


def _listed(table: Path, machine: str, split: Split) -> list[Clip]:
    """The recordings of a table that are to be learnt from, or all of them."""
    clips = read_table(table, split, some=split is Split.TEST)
    clips = [replace(clip, machine=clip.machine or machine) for clip in clips]
    if split is not Split.TRAIN:
        return [replace(clip, split=split) for clip in clips]
    wanted = [clip for clip in clips if clip.split is Split.TRAIN]
    if not wanted:
        raise AsdError(f"{table} lists no normal training clips; write train into the column split of some rows")
    if faulty := [clip.path for clip in wanted if clip.label is Label.ANOMALY]:
        raise _anomaly(faulty[0], "label")
    return [replace(clip, label=Label.NORMAL) for clip in wanted]


def _named(clip: Clip) -> Clip:
    """What the name tells of a clip where it is one of the challenge, under either role, as folders may mix them."""
    for role in (Split.TRAIN, Split.TEST):
        try:
            told = parse_name(clip.path, clip.machine, role)
        except AsdError:
            continue
        return replace(told, split=clip.split, label=clip.label or told.label)
    return clip


def _anomaly(path: Path, by: str) -> AsdError:
    return AsdError(f"{path} is an anomaly by its {by}, and a model learns normal ones; leave it out, or correct that")
