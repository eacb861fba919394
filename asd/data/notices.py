"""What is said of recordings before they are used: what was done to them, and how unlike those learnt from they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asd.data.recordings import Recordings, check
from asd.types import AsdError, Clip, Split, named

RECORDED_FILE = "recorded.json"  # `kinds` of the training clips, in the folder of a model
_MOST_LEVEL = 8.0  # a float above it is in 16-bit steps: nothing is recorded 18 dB beyond the full scale of 1


def check_units(recordings: Recordings) -> None:
    """Makes sure that recordings of a machine share one full scale: some features change with the gain.

    Raises:
        AsdError: some are floats in 16-bit steps, and others keep to the full scale of 1.
    """
    in_steps = _in_steps(recordings, True)
    if in_steps and (n_others := sum(0 < sound.peak <= 1 for sound in recordings.sounds)):
        raise AsdError(
            f"{in_steps[0].path} holds floats far beyond 1, and {n_others} of {len(recordings)} recordings keep to the "
            f"full scale of 1; bring all to it (16-bit steps are divided by 32768), or leave out "
            f"{named([clip.name for clip in in_steps])}"
        )


def notices(recordings: Recordings) -> list[str]:
    """What was done to recordings that are not as the run needs them, in sentences: other rates, channels and units."""
    sentences = []
    wanted_hz, n_all = recordings.sample_rate_hz, len(recordings)
    rates = Counter(sound.file_rate_hz for sound in recordings.sounds if sound.file_rate_hz != wanted_hz)
    if rates:
        listing = ", ".join(f"{count} of {n_all} at {rate} Hz" for rate, count in sorted(rates.items()))
        below = f" (nothing is in them above {min(rates) // 2} Hz)" if min(rates) < wanted_hz else ""
        sentences.append(f"recordings are resampled to {wanted_hz} Hz: {listing}{below}")
    several = [sound.n_channels for sound in recordings.sounds if sound.n_channels > 1]
    if several and recordings.front_end.n_microphones == 1 and recordings.front_end.channel is None:
        sentences.append(
            f"{len(several)} of {n_all} recordings have {max(several)} channels, and the first is used; "
            f"channel=1 takes the second, channel=mean their mean"
        )
    if in_steps := _in_steps(recordings, True):
        sentences.append(
            f"{len(in_steps)} of {n_all} recordings hold floats far beyond the full scale of 1: record new ones in the "
            f"same units, or bring all to it (16-bit steps are divided by 32768)"
        )
    return sentences


def kinds(recordings: Recordings) -> dict[str, Any]:
    """How recordings were stored, as plain values to be kept with a model.

    Returns:
        "lossy": what compressed them with a loss, sorted, "" for nothing; "top_hz": up to where all have sound;
        "in_steps": whether samples are in 16-bit steps, and not of full scale 1.
        {} where they come from memory.
    """
    if not recordings.is_on_disk:
        return {}
    rates = [recordings.sample_rate_hz, *(sound.file_rate_hz for sound in recordings.sounds)]
    return {
        "lossy": sorted({sound.lossy for sound in recordings.sounds}),
        "top_hz": min(rates) // 2,
        "in_steps": bool(_in_steps(recordings, True)),
    }


def unlike(recordings: Recordings, learnt: Mapping[str, Any]) -> list[str]:
    """How recordings were stored in another way than those that a model learnt from, in sentences.

    A detector hears what a codec leaves out, or a narrower band, as a change of the machine.

    Args:
        recordings: to be scored.
        learnt: `kinds` of the training clips; {}: they are unknown.
    """
    if not learnt or not len(recordings):
        return []
    sentences = []
    coded = Counter(sound.lossy for sound in recordings.sounds if sound.lossy not in learnt["lossy"])
    if coded:
        found, known = (_codecs(names) for names in (sorted(coded), learnt["lossy"]))
        sentences.append(
            f"{coded.total()} of {len(recordings)} recordings are {found}, and those that were learnt from {known}: "
            f"what a codec does to a sound counts as anomalous; record, or train, in one format"
        )
    narrow = [sound.file_rate_hz for sound in recordings.sounds if sound.file_rate_hz // 2 < learnt["top_hz"]]
    if narrow:
        sentences.append(
            f"{len(narrow)} of {len(recordings)} recordings hold nothing above {min(narrow) // 2} Hz, and those that "
            f"were learnt from reach {learnt['top_hz']} Hz: that counts as anomalous; record at one rate, or train "
            f"with sample_rate_hz={min(narrow)}"
        )
    was_in_steps = learnt.get("in_steps")  # earlier versions did not write it
    if was_in_steps is not None and (others := _in_steps(recordings, not was_in_steps)):
        ours, steps = "of full scale 1", "in 16-bit steps"
        here, there = (ours, steps) if was_in_steps else (steps, ours)
        sentences.append(
            f"{len(others)} of {len(recordings)} recordings are {here} ({named([clip.name for clip in others])}), and "
            f"those that were learnt from are {there}: to some detectors these differ; bring all to full scale 1"
        )
    return sentences


def unusable(paths: Sequence[Path], *, sample_rate_hz: int, n_channels: int) -> list[str]:
    """Reads every file; a sentence for each that is not a recording of this rate and number of channels."""
    sentences = []
    for path in paths:
        try:
            (sound,) = check([Clip(path, "", "", Split.TEST)], sample_rate_hz=sample_rate_hz).sounds
        except AsdError as error:
            sentences.append(str(error))
            continue
        if sound.n_channels != n_channels:
            channels = "1 channel" if sound.n_channels == 1 else f"{sound.n_channels} channels"
            sentences.append(
                f"{path} has {channels}, not {n_channels}; check that it is of that year, or copy it again"
            )
    return sentences


def _in_steps(recordings: Recordings, wanted: bool) -> list[Clip]:
    """The clips whose samples are floats in 16-bit steps, or the others."""
    every = zip(recordings.clips, recordings.sounds, strict=True)
    return [clip for clip, sound in every if (sound.peak > _MOST_LEVEL) is wanted]


def _codecs(names: list[str]) -> str:
    return " or ".join(f"compressed with a loss ({name})" if name else "without loss" for name in names)
