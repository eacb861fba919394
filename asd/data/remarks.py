"""How recordings are stored, and how that differs from those that a model learnt from: checks, and sentences."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from asd.challenge.years import get_year
from asd.core.runtime import log, log_unnamed
from asd.data.layouts.words import perhaps_faults
from asd.data.recordings import Recordings, Refused, defects
from asd.types import AsdError, Clip, named

_SHORTER = 0.95  # of the windows of training clips: below, normal clips score as anomalous
_STREAM_S, _MOST_WINDOWS = 600.0, 60  # longer ones are to be listened to
_TELLING = 16  # characters of a hash that tell copies among the recordings of a machine
_MOST_APART_DB = 6.0  # from the levels of training clips: in real machines' test clips it is 1 dB
_MOST_LEVEL = 8.0  # a float above it is in 16-bit steps: nothing is recorded 18 dB beyond the full scale of 1


def broken(recordings: Recordings, what: str) -> str:
    """A sentence's beginning: "a.wav is silent, and 2 of 9 clips are broken (b.wav besides)"; "" where none is.

    `what` they are, such as "training clips". More than a sentence names are logged one by one.
    """
    if not (found := defects(recordings)):
        return ""
    (clip, defect), *rest = found
    log_unnamed([f"{other.path} {what_else}" for other, what_else in rest], len(recordings))
    others = f" ({named([other.name for other, _ in rest])} besides)" if rest else ""
    return f"{clip.path} {defect}, and {len(found)} of {len(recordings)} {what} are broken{others}"


def mono(recordings: Recordings, year: int) -> list[str]:
    """A sentence on recordings by one microphone alone in a year of two, one of which is used; else nothing."""
    alone = [clip for clip, sound in recordings.pairs if sound.n_channels == 1]
    if get_year(year).channels <= recordings.front_end.n_microphones or not alone:
        return []
    of_all = f"{len(alone)} of {len(recordings)} {alone[0].split} clips"
    two = f"recordings of {year} have two: it is taken for the near microphone"
    return [f"{alone[0].path} has one channel (as {of_all}), and {two}"]


def of_training(recordings: Recordings) -> list[str]:
    """Sentences on training clips: names of faults, copies, means of more or fewer channels than most are."""
    usual = [Counter(sound.n_heard for sound in recordings.sounds).most_common(1)[0][0]]
    return [*perhaps_faults(recordings.clips), *_repeated(recordings), *_unlike_in_channels(recordings, usual)]


def of_test(recordings: Recordings, learnt: Mapping[str, Any]) -> list[str]:
    """Sentences on test clips: how they are `unlike` training clips, which are copies of these or of each other."""
    so = "they score lower than new recordings do, so results are too good or wrong; remove them from one side"
    copies = _learnt(recordings, learnt, "test clips are copies of training clips", so)
    return [*unlike(recordings, learnt), *copies, *_labelled_twice(recordings)]


def learnt_from(recordings: Recordings, learnt: Mapping[str, Any]) -> list[str]:
    """A sentence on recordings to predict whose content is that of a training clip; else nothing."""
    so = "they score lower than new ones do, so their scores say nothing of the machine or of the threshold"
    return [*_learnt(recordings, learnt, "recordings were learnt from", so)]


def check_units(recordings: Recordings, refused: list[Refused] | None = None) -> Recordings:
    """Refuses recordings of a machine some of which are floats in 16-bit steps and others of full scale 1.

    Some features change with the gain. `refused` takes the fewer ones, which are then left out; None: it is an error.
    """
    in_steps = _in_steps(recordings, True)
    if not in_steps or not (others := [clip for clip, sound in recordings.pairs if 0 < sound.peak <= 1]):
        return recordings
    error = AsdError(
        f"{in_steps[0].path} holds floats far beyond 1, and {len(others)} of {len(recordings)} recordings keep to the "
        f"full scale of 1; bring all to it (16-bit steps are divided by 32768), or leave out "
        f"{named([clip.name for clip in in_steps])}"
    )
    if refused is None:
        raise error
    fewer = {clip.name for clip in min(in_steps, others, key=len)}
    refused += [(clip, error) for clip in recordings.clips if clip.name in fewer]
    return recordings.subset([i for i, clip in enumerate(recordings.clips) if clip.name not in fewer])


def notices(recordings: Recordings) -> list[str]:
    """What was done to recordings that are not as the run needs them, in sentences: other rates, channels and units."""
    sentences = []
    wanted_hz, n_all = recordings.sample_rate_hz, len(recordings)
    if rates := Counter(sound.file_rate_hz for sound in recordings.sounds if sound.file_rate_hz != wanted_hz):
        listing = ", ".join(f"{count} of {n_all} at {rate} Hz" for rate, count in sorted(rates.items()))
        below = f"; those at {min(rates)} Hz hold nothing above {min(rates) // 2} Hz" if min(rates) < wanted_hz else ""
        sentences.append(f"recordings are resampled to {wanted_hz} Hz: {listing}{below}")
    several = [sound.n_channels for sound in recordings.sounds if sound.n_channels > 1]
    if several and recordings.front_end.n_microphones == 1 and recordings.front_end.channel is None:
        most = f"{'up to ' if len({*several}) > 1 else ''}{max(several)}"
        sentences.append(
            f"{len(several)} of {n_all} recordings have {most} channels, and the first is used; "
            f"channel=1 takes the second, channel=mean their mean"
        )
    if in_steps := _in_steps(recordings, True):
        sentences.append(
            f"{len(in_steps)} of {n_all} recordings hold floats far beyond the full scale of 1: record new ones in the "
            f"same units, or bring all to it (16-bit steps are divided by 32768)"
        )
    return sentences


def facts_of(recordings: Recordings, window_s: float | None = None) -> dict[str, Any]:
    """How recordings were stored, as plain values to be kept with a model, which cuts them into windows of `window_s`.

    Returns:
        "lossy": what compressed them with a loss, sorted, "" for nothing; "top_hz": up to where all have sound;
        "rates_hz": of the files, sorted; "n_heard": of how many channels a mean is, sorted; "in_steps": whether samples
        are in 16-bit steps, and not of full scale 1; "levels_db": of the quietest and the loudest;
        "contents": hashes, shortened; "seconds": of their windows, and of the longest clip. Of what comes from memory
        only units, levels and seconds.
    """
    if not len(recordings):
        return {}
    usual_s = recordings.usual_window / recordings.sample_rate_hz
    seconds = [min(window_s or usual_s, usual_s), float(recordings.durations_s.max())]
    sizes: dict[str, Any] = {"in_steps": bool(_in_steps(recordings, True)), "seconds": seconds}
    if levels_db := [sound.level_db for sound in recordings.sounds if sound.level_db is not None]:
        sizes["levels_db"] = [min(levels_db), max(levels_db)]
    if not recordings.is_on_disk:
        return sizes
    rates = [recordings.sample_rate_hz, *(sound.file_rate_hz for sound in recordings.sounds)]
    return {
        "lossy": sorted({sound.lossy for sound in recordings.sounds}),
        "top_hz": min(rates) // 2,
        "rates_hz": sorted({sound.file_rate_hz for sound in recordings.sounds}),
        "n_heard": sorted({sound.n_heard for sound in recordings.sounds}),
        "contents": sorted({sound.content[:_TELLING] for sound in recordings.sounds}),
        **sizes,
    }


def unlike(recordings: Recordings, learnt: Mapping[str, Any]) -> list[str]:
    """How recordings differ in format from those that a model learnt from, in sentences.

    What a codec or resampling leaves out counts as a change of the machine: clips of 16 kHz are far from normal for a
    model of 16 kHz that learnt from files of 48 kHz, and the other way round. `learnt` is `facts_of` of the training
    clips; {}: they are unknown. What comes from memory differs in units, level and length.
    """
    if not len(recordings):
        return []
    stored = _unlike_as_stored(recordings, learnt) if "lossy" in learnt and recordings.is_on_disk else []
    in_numbers = (_unlike_in_units, _unlike_in_level, _unlike_in_length)
    return [*stored, *(sentence for found in in_numbers for sentence in found(recordings, learnt))]


def _unlike_as_stored(recordings: Recordings, learnt: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on files of another codec or another rate than the training clips, by `facts_of` of these."""
    if coded := Counter(sound.lossy for sound in recordings.sounds if sound.lossy not in learnt["lossy"]):
        found, known = (_codecs(names) for names in (sorted(coded), learnt["lossy"]))
        yield (
            f"{coded.total()} of {len(recordings)} recordings are {found}, and those that were learnt from {known}: "
            f"what a codec does to a sound counts as anomalous; record, or train, in one format"
        )
    rates_hz = [sound.file_rate_hz for sound in recordings.sounds]
    if narrow := [rate for rate in rates_hz if rate // 2 < learnt["top_hz"]]:
        yield (
            f"{len(narrow)} of {len(recordings)} recordings hold nothing above {min(narrow) // 2} Hz, and those that "
            f"were learnt from reach {learnt['top_hz']} Hz: that counts as anomalous; record at one rate, or train "
            f"with sample_rate_hz={min(narrow)}"
        )
    most = recordings.sample_rate_hz + 1  # stands for all higher rates, of which the same is left
    known_hz = {min(rate, most) for rate in learnt["rates_hz"]}
    wide = [rate for rate in rates_hz if rate // 2 >= learnt["top_hz"]]
    if others_hz := [rate for rate in wide if min(rate, most) not in known_hz]:
        yield (
            f"{len(others_hz)} of {len(recordings)} recordings are sampled at {_all(others_hz)} Hz, and those that "
            f"were learnt from at {_all(learnt['rates_hz'])} Hz: at the upper end they differ, and that counts as "
            f"anomalous; record at one rate"
        )
    yield from _unlike_in_channels(recordings, learnt.get("n_heard", []))


def _unlike_in_channels(recordings: Recordings, known: Sequence[int]) -> Iterator[str]:
    """A sentence on means of other numbers of channels than are known: channels without a sound do not count."""
    others = [(clip.name, sound.n_heard) for clip, sound in recordings.pairs if known and sound.n_heard not in known]
    if others:
        yield (
            f"{len(others)} of {len(recordings)} recordings are the mean of {_all([n for _, n in others])} channels "
            f"with a sound, and other ones of {_all(known)} ({named([name for name, _ in others])}): that may count as "
            f"anomalous; see which channels are silent or missing, or train with channel=0"
        )


def _all(numbers: Sequence[int]) -> str:
    return " and ".join(str(number) for number in sorted({*numbers}))


def _unlike_in_units(recordings: Recordings, learnt: Mapping[str, Any]) -> Iterator[str]:
    """A sentence on recordings in 16-bit steps where the training clips have full scale 1, or the other way round."""
    if "in_steps" in learnt and (others := _in_steps(recordings, not learnt["in_steps"])):
        ours, steps = "of full scale 1", "in 16-bit steps"
        here, there = (ours, steps) if learnt["in_steps"] else (steps, ours)
        yield (
            f"{len(others)} of {len(recordings)} recordings are {here} ({named([clip.name for clip in others])}), and "
            f"those that were learnt from are {there}: to some detectors these differ; bring all to full scale 1"
        )


def _unlike_in_level(recordings: Recordings, learnt: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on recordings that are far louder than each training clip, or far quieter, in the same units."""
    quietest_db, loudest_db = learnt.get("levels_db", (-math.inf, math.inf))  # models of before do not know
    levels_db = [
        (clip.name, sound.level_db)
        for clip, sound in recordings.pairs
        if sound.level_db is not None and not sound.defect and (sound.peak > _MOST_LEVEL) is learnt.get("in_steps")
    ]
    for word, sign, limit_db in (("louder", 1, loudest_db), ("quieter", -1, quietest_db)):
        apart_db = {name: apart for name, level in levels_db if (apart := sign * (level - limit_db)) > _MOST_APART_DB}
        if apart_db:
            yield (
                f"{len(apart_db)} of {len(recordings)} recordings are {word} than all that were learnt from, by up to "
                f"{max(apart_db.values()):.0f} dB ({named([*apart_db])}): to the default detector loudness alone is no "
                f"fault; see whether the machine or the gain of the microphone has changed"
            )


def _unlike_in_length(recordings: Recordings, learnt: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on recordings that are shorter than the windows of training clips, or as long as a shift."""
    if not (known := learnt.get("seconds")):
        return
    lasts_s, n_all = recordings.durations_s, len(recordings)
    if len(short := lasts_s[lasts_s < _SHORTER * known[0]]):
        yield (
            f"{len(short)} of {n_all} recordings last {_span(short.min(), short.max())}, and those that were learnt "
            f"from {_span(*known)}: to most detectors a shorter one is anomalous; record as long, or train with "
            f"recordings as short as these"
        )
    if len(long := lasts_s[lasts_s > max(_STREAM_S, _MOST_WINDOWS * known[0])]):
        yield (
            f"{len(long)} of {n_all} recordings last {_span(long.min(), long.max())}: each gets the mean score of its "
            f"windows, in which a fault of moments is lost; `listen input=FILE` scores window by window"
        )


def _learnt(recordings: Recordings, learnt: Mapping[str, Any], what: str, so: str) -> Iterator[str]:
    """A sentence on recordings whose content is that of a training clip, by `facts_of` of these."""
    known = {*learnt.get("contents", ())}
    if found := [clip.name for clip, sound in recordings.pairs if sound.content[:_TELLING] in known]:
        yield f"{len(found)} of {len(recordings)} {what} ({named(found)}): {so}"


def _repeated(recordings: Recordings) -> Iterator[str]:
    """A sentence on training clips that are copies of others; names do not count."""
    n_of = Counter(sound.content for sound in recordings.sounds)
    if alike := [clip.name for clip, sound in recordings.pairs if n_of[sound.content] > 1]:
        yield (
            f"{len(recordings) - len(n_of)} of {len(recordings)} training clips are copies of others ({named(alike)}): "
            f"they teach nothing, and their scores may make thresholds too low; remove them"
        )


def _labelled_twice(recordings: Recordings) -> Iterator[str]:
    """A sentence on labelled recordings of the same content; first where their labels contradict each other."""
    every = [(clip, sound.content) for clip, sound in recordings.pairs if clip.label is not None]
    n_of = Counter(content for _, content in every)
    n_labels = Counter(content for content, _ in {(content, clip.label) for clip, content in every})
    if wrong := [clip.name for clip, content in every if n_labels[content] > 1]:
        yield (
            f"{len(wrong)} of {len(recordings)} test clips are normal by one name and anomalous by another, with the "
            f"same content ({named(wrong)}): results are wrong; remove one of each"
        )
    elif alike := [clip.name for clip, content in every if n_of[content] > 1]:
        yield (
            f"{len(every) - len(n_of)} of {len(recordings)} test clips are copies of others ({named(alike)}): they "
            f"count more than once in results; remove them"
        )


def _span(least_s: float, most_s: float) -> str:
    least, most = (f"{seconds:.3g}" if seconds < 999.5 else f"{seconds:.0f}" for seconds in (least_s, most_s))
    return f"{least} s" if least == most else f"{least} to {most} s"


def _in_steps(recordings: Recordings, wanted: bool) -> list[Clip]:
    """The clips whose samples are floats in 16-bit steps, or the others."""
    return [clip for clip, sound in recordings.pairs if (sound.peak > _MOST_LEVEL) is wanted]


def _codecs(names: list[str]) -> str:
    lossy = [name for name in names if name]
    coded = [f"compressed with a loss ({' or '.join(lossy)})"] if lossy else []
    return " or ".join(["without loss"] * ("" in names) + coded)


def tell(level: int, about: str, sentences: Iterable[str], told: set[str] | None = None) -> None:
    """Logs what there is to say of a machine or a recording; but for names and numbers, nothing that was `told`."""
    for sentence in sentences:
        kind = re.sub(r"\(.*\)|[\d.,]+", "", sentence)
        if told is None or kind not in told:
            log.log(level, "%s: %s", about, sentence)
        if told is not None:
            told.add(kind)
