"""What is said of recordings before they are used: what was done to them, and how unlike those learnt from they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asd.data.recordings import Recordings, check
from asd.types import AsdError, Clip, Split

RECORDED_FILE = "recorded.json"  # `kinds` of the training clips, in the folder of a model


def notices(recordings: Recordings) -> list[str]:
    """What was done to recordings that are not as the run needs them, in sentences: other rates, further channels."""
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
    return sentences


def kinds(recordings: Recordings) -> dict[str, Any]:
    """How recordings were stored, as plain values to be kept with a model.

    Returns:
        "lossy": what compressed them with a loss, sorted, "" for nothing; "top_hz": up to where all have sound.
        {} where they come from memory.
    """
    if not recordings.is_on_disk:
        return {}
    rates = [recordings.sample_rate_hz, *(sound.file_rate_hz for sound in recordings.sounds)]
    return {"lossy": sorted({sound.lossy for sound in recordings.sounds}), "top_hz": min(rates) // 2}


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


def _codecs(names: list[str]) -> str:
    return " or ".join(f"compressed with a loss ({name})" if name else "without loss" for name in names)
