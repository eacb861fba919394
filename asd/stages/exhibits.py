"""Sounds, spectrograms, explanations and maps of chosen clips for a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from asd.core.runtime import progress
from asd.data.codecs import encode
from asd.evaluation.explain import FloatArray, with_verdicts
from asd.evaluation.figures import colour_limits
from asd.evaluation.report import contents
from asd.evaluation.report.contents import Medium, PageMedia, ShownClips
from asd.features.normal_spectra import NormalSpectra, mean_spectra
from asd.settings.stages import Report
from asd.stages.explaining import Material, Pair, Samples, levels_db
from asd.types import Clip

_MOST_SOUND_S = 30.0  # of a longer recording, only the beginning is on the page
_MOST_ON_MAP, _LEAST_TRAINING_ON_MAP = 1200, 300  # clips that t-SNE lays out in seconds
_PEAK = 0.9  # of the loudest shown sound of a machine
_MOST_GAIN_DB = 40
_MELS, _MOST_FRAMES = 96, 360  # of spectrograms


def exhibit(material: Material, config: Report, page: PageMedia) -> ShownClips:
    """Adds sounds and pictures of the clips of interest to the page, as long as there is room."""
    test = material.test
    device = material.detector.context.device
    normal, queries = NormalSpectra.of(material.train, device), mean_spectra(test, device)
    rows = contents.of_interest(material.table, config.clips)
    in_windows = material.in_windows(rows)
    pairs = [
        Pair(in_windows, row, index, float(np.sqrt(np.square(normal.spectra[index] - queries[row]).mean())))
        for row, index in zip(rows, _neighbours(material, rows, normal, queries), strict=True)
    ]
    peak = max(float(np.abs(wave).max()) for pair in pairs for wave in pair.waves)  # brought to full scale, all alike
    gain_db = int(np.clip(math.floor(20 * math.log10(_PEAK / max(peak, 1e-9))), -_MOST_GAIN_DB, _MOST_GAIN_DB))
    shown = ShownClips([condition(clip) for clip in test.clips], [str(clip.path) for clip in test.clips])
    shown.defects = [sound.defect or "" for sound in test.sounds]
    can_explain = not test.front_end.residual  # a score of two waveforms, of which one would be altered
    for place, pair in enumerate(progress(pairs, f"{test.clips[0].machine} exhibits")):
        part, media = _exhibits(pair, config.audio, gain_db)
        if can_explain and place < config.explained:
            effects, name = pair.effects(), f"{_name(pair)}-explained"
            figure = pair.figure(with_verdicts(material.table).iloc[pair.row], len(material.table), effects)
            part |= {"explained": name, "effects": effects.as_columns()}
            media[name] = contents.figure_picture(figure)
        if not page.add(media):
            break
        shown.parts[pair.row] = part
    _note_sounds(shown, len(material.table), gain_db, config.clips)
    if any(pair.sound.whole for pair in pairs):
        shown.notes.append("Of a recording of more than a minute, the part with the highest score is shown.")
    _lay_out(shown, material, normal.spectra, queries)
    return shown


def _exhibits(pair: Pair, codec: Literal["flac", "opus"], gain_db: int) -> tuple[dict[str, Any], dict[str, Medium]]:
    """What the page says of a pair, and its sounds, both louder by one gain, and spectrograms."""
    waves, rate = pair.waves, pair.material.test.sample_rate_hz
    levels = [levels_db(wave, rate, max(64, len(wave) // _MOST_FRAMES), _MELS) for wave in waves]
    limits = colour_limits(*levels)
    own, other = _name(pair), f"{pair.clip.machine}-t{pair.neighbour}"
    sounds = {
        f"{name}-sound": _sound(wave, rate, gain_db, codec) for name, wave in zip((own, other), waves, strict=True)
    }
    pictures = {  # the neighbour is drawn in the colours of this clip, so its picture is of the pair
        name: contents.spectrogram_picture(level, limits)
        for name, level in zip((f"{own}-picture", f"{own}-beside"), levels, strict=True)
    }
    part = {
        "nearest": pair.nearest,
        "distance_db": round(pair.distance_db, 2),
        "sounds": [*sounds],
        "pictures": [*pictures],
        "seconds": [round(len(wave) / rate, 2) for wave in waves],
        "top_hz": rate // 2,
    }
    return part, sounds | pictures


def _name(pair: Pair) -> str:
    """What the media of a clip are called."""
    return f"{pair.clip.machine}-{pair.row}"


def condition(clip: Clip) -> str:
    """The attributes of a clip in words."""
    return ", ".join(f"{key} {value}" for key, value in clip.attributes.items())


def _neighbours(material: Material, rows: Sequence[int], normal: NormalSpectra, queries: FloatArray) -> list[int]:
    """The training clip beside each row: the one that the table names, or the nearest."""
    clips = material.train.clips
    places = {name: i for i in reversed(range(len(clips))) for name in (clips[i].name, str(clips[i].path))}
    named = material.table["nearest"].tolist() if "nearest" in material.table else [""] * len(queries)
    nearest, _ = normal.nearest(queries[rows])
    return [places.get(named[row], int(index)) for row, index in zip(rows, nearest, strict=True)]


def _sound(wave: Samples, rate: int, gain_db: int, codec: Literal["flac", "opus"]) -> Medium:
    """The beginning of a clip as it is played."""
    cut = wave[: int(_MOST_SOUND_S * rate)] * np.float32(10 ** (gain_db / 20))
    content = encode(cut[None].clip(-1, 1), rate, codec)
    return Medium(content, "audio/ogg" if content.startswith(b"OggS") else "audio/flac")


def _note_sounds(shown: ShownClips, n_clips: int, gain_db: int, n_wanted: int) -> None:
    """Notes how many clips have a player, which ones, and how loud they are played."""
    n_shown = len(shown.parts)
    why = "" if n_shown >= min(n_wanted, n_clips) else " (the size of the page allows no more)"
    louder = f"{abs(gain_db)} dB {'louder' if gain_db >= 0 else 'quieter'} than recorded"
    shown.notes.append(
        f"{n_shown} of {n_clips} clips can be looked at and listened to{why}: the highest scores, and where labels "
        f"are known the highest normal and the lowest anomalous clips. They are played {louder}, all alike."
    )


def _lay_out(shown: ShownClips, material: Material, bank: FloatArray, queries: FloatArray) -> None:
    """Maps of all clips and training clips, or of as many as are laid out in seconds."""
    rows = _drawn(len(queries), _MOST_ON_MAP)
    indices = _drawn(len(bank), max(_LEAST_TRAINING_ON_MAP, _MOST_ON_MAP - len(rows)))
    own = [material.detector.embed(each) for each in (material.test.subset(rows), material.train.subset(indices))]
    vectors = [part for part in own if part is not None]
    shown.maps = contents.projections(np.concatenate(vectors or [queries[rows], bank[indices]]))
    shown.map_rows = rows.tolist()
    clips = [material.train.clips[i] for i in indices]
    shown.map_training = [(clip.name, clip.domain or "", condition(clip)) for clip in clips]
    shown.map_of = "the detector's own vectors" if vectors else "mean spectra without their level, 64 mel bands"
    for what, part, every in (("", rows, queries), (" training", indices, bank)):
        if len(part) < len(every):
            shown.notes.append(f"The maps show {len(part)} of {len(every)}{what} clips, drawn at random.")


def _drawn(n: int, most: int) -> npt.NDArray[np.int64]:
    """At most so many of n indices, rising; the same ones every time."""
    return np.sort(np.random.default_rng(0).permutation(n)[:most])
