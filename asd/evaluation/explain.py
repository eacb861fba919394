"""Explains a score: one part of a clip is swapped for that of a normal neighbour, and the clip is scored again.

The *effect* of a part is score(clip) - score(clip with that part swapped): positive where the part raised the score.
Parts are frequency bands (the whole time of one band) and stretches (all bands of one piece of time). The neighbour is
first brought to the clip's level and length. Signals are swapped, so the impulses and modulations of a band are
explained as well as its level; nothing is cut out, because a shorter clip has a less certain score.

Waveforms are (samples,), frequencies in Hz, times in seconds.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.places import recording_key
from asd.types import AsdError, Label

FloatArray = npt.NDArray[np.float64]

N_BANDS = 16
N_STRETCHES = 16
N_NAMED_BANDS = 3  # how many bands a row of the table names

_CROSSOVER_HZ = 40.0  # width of the slope between two bands: filters ring for 25 ms, no longer
_CROSSFADE_S = 0.004  # of the slope between two stretches: a bare joint would be an audible click
_SILENCE = 1e-12  # mean power of a band that counts as empty: 120 dB below full scale


@dataclass(frozen=True, slots=True)
class Effects:
    """What each part of a clip did to its score."""

    bands_hz: FloatArray  # (bands + 1,) edges
    by_band: FloatArray  # (bands,) effects, in units of the score
    stretches_s: FloatArray  # (stretches + 1,) edges
    by_stretch: FloatArray  # (stretches,) effects
    louder_db: float  # how much louder the clip is than its neighbour
    by_level: float  # effect of that

    def top_bands(self, n: int = N_NAMED_BANDS) -> list[tuple[float, float, float]]:
        """The bands that raised the score most, (low Hz, high Hz, effect), at most `n`; none lowered it."""
        return _top(self.bands_hz, self.by_band, n)

    def top_stretches(self, n: int = 1) -> list[tuple[float, float, float]]:
        """The stretches that raised the score most, (start s, end s, effect), at most `n`."""
        return _top(self.stretches_s, self.by_stretch, n)

    def as_columns(self) -> dict[str, str | float]:
        """The cells that a row of the table shows."""
        bands = [f"{low:.0f}-{high:.0f} Hz {effect:+.3g}" for low, high, effect in self.top_bands()]
        stretches = [f"{start:.2f}-{end:.2f} s {effect:+.3g}" for start, end, effect in self.top_stretches()]
        return {
            "top_bands": "; ".join(bands),
            "top_stretch": "; ".join(stretches),
            "louder_db": round(self.louder_db, 2),
            "level_effect": round(self.by_level, 4),
        }


def _top(edges: FloatArray, effects: FloatArray, n: int) -> list[tuple[float, float, float]]:
    order = [i for i in np.argsort(-effects, kind="stable")[:n] if effects[i] > 0]
    return [(float(edges[i]), float(edges[i + 1]), float(effects[i])) for i in order]


def hz_to_mel(hz: npt.ArrayLike) -> FloatArray:
    """Slaney's mel scale, that of all log-mel features here: linear up to 1 kHz, logarithmic above."""
    hz = np.asarray(hz, np.float64)
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def mel_to_hz(mel: npt.ArrayLike) -> FloatArray:
    """Inverse of `hz_to_mel`."""
    mel = np.asarray(mel, np.float64)
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27))


def band_edges(sample_rate_hz: int, n_bands: int = N_BANDS) -> FloatArray:
    """Edges in Hz of bands equally wide in mel, (n_bands + 1,)."""
    return mel_to_hz(np.linspace(0.0, float(hz_to_mel(sample_rate_hz / 2)), n_bands + 1))


def split_bands(waveform: FloatArray, edges_hz: FloatArray, sample_rate_hz: int) -> FloatArray:
    """A waveform (samples,) as band signals (bands, samples) that add up to it, between rising edges (bands + 1,)."""
    hz = np.fft.rfftfreq(len(waveform), 1 / sample_rate_hz).astype(np.float64)
    return np.fft.irfft(np.fft.rfft(waveform) * _shares(hz, edges_hz, _CROSSOVER_HZ), len(waveform))


def split_stretches(waveform: FloatArray, edges_s: FloatArray, sample_rate_hz: int) -> FloatArray:
    """A waveform (samples,) as stretches (stretches, samples) that add up to it, each silent outside its time."""
    return waveform * _shares(np.arange(len(waveform)) / sample_rate_hz, edges_s, _CROSSFADE_S)


def _shares(points: FloatArray, edges: FloatArray, slope: float) -> FloatArray:
    """How much of each point belongs to each interval, (intervals, points): sums to 1 over intervals."""
    beyond = np.clip((points - edges[1:-1, None]) / slope + 0.5, 0.0, 1.0)
    return -np.diff(beyond, axis=0, prepend=1.0, append=0.0)


def fit_neighbour(
    clip_bands: FloatArray, neighbour: FloatArray, edges_hz: FloatArray, sample_rate_hz: int
) -> tuple[FloatArray, float]:
    """The neighbour as long and as loud as the clip, and how much louder the clip was.

    A shorter neighbour is mirrored at its end, which makes no audible joint. The difference in level is
    the median over bands (bands, samples), between edges (bands + 1,), so that a single deviant one moves no others.
    """
    n_samples = clip_bands.shape[1]
    fitted = np.pad(neighbour, (0, max(0, n_samples - len(neighbour))), mode="symmetric")[:n_samples]
    own, other = (
        np.square(bands).mean(axis=1) + _SILENCE
        for bands in (clip_bands, split_bands(fitted, edges_hz, sample_rate_hz))
    )
    louder_db = float(np.median(10 * np.log10(own / other)))
    return fitted * 10 ** (louder_db / 20), louder_db


def choose_clips(table: pd.DataFrame, clip: str | None, worst: int) -> pd.DataFrame:
    """The rows of a score table worth explaining, with `kind` and what `with_verdicts` adds.

    Args:
        clip: name of one file, with or without folders and .wav; None: the worst clips.
        worst: how many of each kind: the highest normals and the lowest anomalies where labels are known,
            else the highest scores.
    """
    if table.empty:
        raise AsdError("there are no scored test clips to explain; put some into test/ and `score` them")
    if worst < 1 and clip is None:
        raise AsdError(f"worst={worst} explains nothing; ask for 1 or more, or name a clip with clip=")
    ranked = with_verdicts(table).sort_values("rank")
    if clip is not None:
        parts = {"asked for": ranked[ranked["file"] == _find(clip, table["file"].tolist())]}
    elif (ranked["label"] == "").all():
        parts = {"highest score": ranked.head(worst)}
    else:
        normal, anomalous = (ranked[ranked["label"] == label] for label in (Label.NORMAL, Label.ANOMALY))
        parts = {"highest normal": normal.head(worst), "lowest anomaly": anomalous.tail(worst)[::-1]}
    return pd.concat([rows.assign(kind=kind) for kind, rows in parts.items()], ignore_index=True)


def with_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """A score table with the `rank` of each clip, 1 for the highest score, and the `verdict` on its decision."""
    pairs = zip(table["label"], table["decision"], strict=True)
    ranks = table["score"].rank(method="first", ascending=False).astype(int)
    return table.assign(rank=ranks, verdict=[_VERDICTS.get(pair, "") for pair in pairs])


# What a decision (0 or 1) is when the truth is known.
_VERDICTS = {("normal", 0): "right", ("normal", 1): "false alarm", ("anomaly", 0): "miss", ("anomaly", 1): "right"}


def _find(clip: str, names: list[str]) -> str:
    """The file that is meant: by its path, or by its name in whatever spelling."""
    same = [name for name in names if name == clip]
    same = same or [name for name in names if recording_key(name) == recording_key(clip)]
    if len(same) > 1:
        raise AsdError(f"clip={clip} may be {same[0]} or {same[1]}; name it with its folder")
    if same:
        return same[0]
    near = difflib.get_close_matches(clip, names, n=1, cutoff=0.0)
    raise AsdError(f"clip={clip} is not among the {len(names)} scored clips; did you mean {near[0]}?")
