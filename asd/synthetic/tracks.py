"""Synthetic multi-track sequences: an editor's decisions for every track, and sound, picture and tracks as input.

    Draws (all that is random, a function of (seed, index))  ─ render ─►  Sequences

The report "Multimodal learning experiment" of 2025-12-14 describes a model that reads sound, picture and the tracks
themselves, and predicts the state of each track at each step; its recordings are not public. Its encoder looks both
ways, so that tracks given one step late would be the answer, one step away: here they are given at keyframes only. An
editor works by rules, and each modality holds a part of what the rules need:

    speech, loudness                     audio only        tracks that follow speech; scale and crop
    scene, subject's place, motion       video only        which tracks a scene has; scale and position
    tracks at every eighth step          track only        held tracks and their assets; the editor's style

A track's role is its number modulo four: on while somebody speaks; on in some scenes; held until taken off; on
in some scenes while somebody speaks. The asset of a track that is not held depends on scene and speech.

Things go wrong as they do in recordings: a sequence may lack a modality, sound or picture may have a gap, music
covers the speech, the picture goes dark, and single values of the picture are NaN. Where a modality is
absent, all its values are NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

MODALITIES = ("audio", "video", "track")
AUDIO = ("energy_rms", "is_speaking", "silence_duration_ms", "text_is_active")
VIDEO = (
    "scene_change", "visual_motion", "saliency_x", "saliency_y", "brightness",
    "face_count", "face_x", "face_y", "face_size", "face_confidence",
)  # fmt: skip
TRACK = (
    "active", "asset_id", "scale", "x", "y", "anchor_x", "anchor_y", "rotation",
    "crop_l", "crop_r", "crop_t", "crop_b",
)  # fmt: skip
NUMBERS = ("scale", "x", "y", "crop_l", "crop_r", "crop_t", "crop_b")

N_SCENES = 6
STEP_MS = 500.0
KEYFRAME_STEPS = 8  # from one step at which the tracks are given to the next
VERSION = 1  # to be raised when a value of a sequence changes
_WORLD_SEED = 2002  # the rules are the same in every study; only sequences are drawn
_GAP_SHARE = 4  # a gap, music and darkness last for a quarter of the steps

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Layout:
    """What sequences look like."""

    n_steps: int = 32  # steps of a sequence, `STEP_MS` each
    n_tracks: int = 4  # tracks described at every step
    n_assets: int = 10  # what a track can show
    n_embedding: int = 16  # length of the picture's embedding beside its ten named values
    absent: float = 0.15  # probability of a modality being absent from a whole sequence
    trouble: float = 0.2  # probability of a gap in the sound, of one in the picture, of music and of darkness, each
    unknown: float = 0.05  # probability of a step without place of the salient point, and of one without embedding

    def widths(self) -> dict[str, int]:
        """Length of a vector of each modality."""
        lengths = (len(AUDIO), len(VIDEO) + self.n_embedding, self.n_tracks * len(TRACK))
        return dict(zip(MODALITIES, lengths, strict=True))


class Draws(NamedTuple):
    """All that is random in a sequence: u in 0..1, z normal, integers; or of n sequences, stacked."""

    u_cut: FloatArray  # (steps,)
    scene: IntArray  # (steps,) that a cut at this step would lead to
    u_flip: FloatArray  # (steps,) of speech
    u_subject: FloatArray  # (steps, 2) where a cut would put the subject
    z_drift: FloatArray  # (steps, 2)
    z_motion: FloatArray  # (steps,)
    z_loudness: FloatArray  # (steps,)
    z_style: FloatArray  # (tracks, numbers)
    u_toggle: FloatArray  # (steps, tracks) of held tracks
    held_asset: IntArray  # (steps, tracks)
    z_numbers: FloatArray  # (steps, tracks, numbers)
    z_audio: FloatArray  # (steps, audio)
    u_audio: FloatArray  # (steps, 2) wrong detections
    z_video: FloatArray  # (steps, video)
    z_embedding: FloatArray  # (steps, embedding)
    z_track: FloatArray  # (steps, tracks, track)
    u_absent: FloatArray  # (modalities,)
    u_trouble: FloatArray  # (4, 2) gap in sound, gap in picture, music, darkness: whether, and from when on
    u_seen: FloatArray  # (steps, 3) place unknown, embedding unknown, face overlooked


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences as a model meets them; active, asset and numbers are targets.

    Features are {"audio": (n, steps, 4), "video": (n, steps, 10 + embedding), "track": (n, steps, tracks * 12)}, NaN
    where absent or unknown.
    """

    features: dict[str, FloatArray]
    present: BoolArray  # (n, steps, modalities)
    active: BoolArray  # (n, steps, tracks)
    asset: IntArray  # (n, steps, tracks), 0 where the track is not active
    numbers: FloatArray  # (n, steps, tracks, 7), NaN where the track is not active
    scene: IntArray  # (n, steps), as cut, music and dark, for the analysis only
    cut: BoolArray
    music: BoolArray
    dark: BoolArray

    def at(self, indices: IntArray) -> Sequences:
        """Some of the sequences, by number."""
        features = {name: x[indices] for name, x in self.features.items()}
        others = (getattr(self, field.name)[indices] for field in fields(self)[1:])
        return Sequences(features, *others)


def make_sequences(layout: Layout, seed: int, indices: Iterable[int]) -> Sequences:
    """Sequences by number: each is a function of (layout, seed, index), whatever is made with it."""
    each = [draw(layout, seed, index) for index in indices]
    return render(layout, Draws(*(np.stack(values) for values in zip(*each, strict=True))))


def draw(layout: Layout, seed: int, index: int) -> Draws:
    """What is random in one sequence."""
    rng = np.random.default_rng([seed, index])
    steps, tracks, u, z = layout.n_steps, layout.n_tracks, rng.random, rng.standard_normal
    return Draws(
        u_cut=u(steps), scene=rng.integers(N_SCENES, size=steps), u_flip=u(steps), u_subject=u((steps, 2)),
        z_drift=z((steps, 2)), z_motion=z(steps), z_loudness=z(steps), z_style=z((tracks, len(NUMBERS))),
        u_toggle=u((steps, tracks)), held_asset=rng.integers(layout.n_assets, size=(steps, tracks)),
        z_numbers=z((steps, tracks, len(NUMBERS))), z_audio=z((steps, len(AUDIO))), u_audio=u((steps, 2)),
        z_video=z((steps, len(VIDEO))), z_embedding=z((steps, layout.n_embedding)),
        z_track=z((steps, tracks, len(TRACK))), u_absent=u(len(MODALITIES)), u_trouble=u((4, 2)), u_seen=u((steps, 3)),
    )  # fmt: skip


def render(layout: Layout, draws: Draws) -> Sequences:
    """Sequences of draws with a first axis of n; nothing random happens here."""
    scenario = _Scenario.of(draws)
    active, asset, numbers = _edit(layout, draws, scenario)
    *gaps, music, dark = [_stretch(draws, k, layout) for k in range(4)]
    features = {
        "audio": _audio(draws, scenario, music),
        "video": _video(layout, draws, scenario, dark),
        "track": _keyframes(layout, draws, active, asset, numbers),
    }
    here = np.repeat((draws.u_absent >= layout.absent)[:, None], layout.n_steps, axis=1)
    here[..., :2] &= ~np.stack(gaps, -1)
    here[..., 2] |= ~here.any(-1)  # no step is without any modality
    for i, name in enumerate(MODALITIES):
        features[name] = np.where(here[..., i, None], features[name], np.nan)
    asset, numbers = np.where(active, asset, 0), np.where(active[..., None], numbers, np.nan)
    return Sequences(features, here, active, asset, numbers, scenario.scene, scenario.cut, music, dark)


class _Scenario(NamedTuple):
    """What happens in front of camera and microphone, (n, steps) each."""

    cut: BoolArray
    scene: IntArray
    speech: BoolArray
    subject: FloatArray  # (n, steps, 2)
    motion: FloatArray
    loudness: FloatArray

    @classmethod
    def of(cls, draws: Draws) -> _Scenario:
        cut = draws.u_cut < 0.1
        last = _last(cut)
        drift = np.cumsum(0.05 * draws.z_drift, 1)
        return cls(
            cut,
            _at(draws.scene, last),
            np.cumsum(draws.u_flip < 0.15, 1) % 2 == 1,
            2 * _at(draws.u_subject, last) - 1 + drift - _at(drift, last),
            lfilter([0.5], [1, -0.85], draws.z_motion, axis=1),
            lfilter([0.5], [1, -0.85], draws.z_loudness, axis=1),
        )


def _edit(layout: Layout, draws: Draws, scenario: _Scenario) -> tuple[BoolArray, IntArray, FloatArray]:
    """What the editor did: active and asset (n, steps, tracks), numbers (n, steps, tracks, 7)."""
    rules = np.random.default_rng(_WORLD_SEED)
    shown_in = rules.random((N_SCENES, layout.n_tracks)) < 0.5
    asset_of = rules.integers(layout.n_assets, size=(N_SCENES, 2, layout.n_tracks))
    crop_sign = rules.choice([-1.0, 1.0], size=(layout.n_tracks, 4))
    role = np.arange(layout.n_tracks) % 4
    speech = scenario.speech[..., None]
    shown = shown_in[scenario.scene]
    toggle = draws.u_toggle < 0.1
    held = np.cumsum(toggle, 1) % 2 == 1
    active = np.select([role == 0, role == 1, role == 2], [speech, shown, held], shown & speech)
    chosen = asset_of[scenario.scene, scenario.speech.astype(int)]
    asset = np.where(role == 2, np.take_along_axis(draws.held_asset, _last(toggle), 1), chosen)
    scale = 0.6 * (scenario.motion + scenario.loudness)
    common = np.concatenate([scale[..., None], scenario.subject], -1)[:, :, None]
    crop = 0.5 * scenario.loudness[..., None, None] * crop_sign
    moved = np.concatenate([np.repeat(common, layout.n_tracks, 2), crop], -1)
    return active, asset, moved + 0.7 * draws.z_style[:, None] + 0.1 * draws.z_numbers


def _audio(draws: Draws, scenario: _Scenario, music: BoolArray) -> FloatArray:
    """Sound (n, steps, 4): speech is detected with errors, and under music by chance."""
    detected = np.where(music, draws.u_audio[..., 0] < 0.5, scenario.speech ^ (draws.u_audio[..., 0] < 0.05))
    steps = np.arange(detected.shape[1])
    last = np.maximum.accumulate(np.where(detected, steps, -1), 1)
    text = scenario.speech ^ (draws.u_audio[..., 1] < 0.2)
    values = [scenario.loudness + 4 * music, detected, STEP_MS * (steps - last), text]
    noise = draws.z_audio * np.where(music[..., None], [2.0, 0, 0, 0], [0.2, 0, 0, 0])
    return np.stack(values, -1) + noise


def _video(layout: Layout, draws: Draws, scenario: _Scenario, dark: BoolArray) -> FloatArray:
    """Picture (n, steps, 10 + embedding): noise only in the dark, some values unknown."""
    looks = np.random.default_rng([_WORLD_SEED, 1]).standard_normal((N_SCENES, layout.n_embedding))
    face = scenario.speech & (draws.u_seen[..., 2] > 0.3)
    x, y = scenario.subject[..., 0], scenario.subject[..., 1]
    values = [scenario.cut, scenario.motion, x, y, np.ones_like(x), face, x * face, y * face, 0.5 * face, 0.9 * face]
    seen = np.concatenate([np.stack(values, -1), looks[scenario.scene]], -1)
    z = np.concatenate([draws.z_video, draws.z_embedding], -1)
    level = np.r_[np.full(len(VIDEO), 0.15), np.full(layout.n_embedding, 0.6)]
    in_the_dark = np.ones_like(level)
    in_the_dark[VIDEO.index("brightness")] = 0.15
    video = np.where(dark[..., None], in_the_dark * z, seen + level * z)
    unknown = draws.u_seen[..., :2] < layout.unknown
    saliency = VIDEO.index("saliency_x")
    video[..., saliency : saliency + 2][unknown[..., 0]] = np.nan
    video[..., len(VIDEO) :][unknown[..., 1]] = np.nan
    return video


def _keyframes(layout: Layout, draws: Draws, active: BoolArray, asset: IntArray, numbers: FloatArray) -> FloatArray:
    """The tracks at the last keyframe, (n, steps, tracks * 12): zero where idle."""
    anchors = np.zeros((*active.shape, 3))  # anchor and rotation: the editor leaves them alone
    state = np.concatenate(
        [active[..., None], asset[..., None] / layout.n_assets, numbers[..., :3], anchors, numbers[..., 3:]], -1
    )
    state = np.where(active[..., None], state, 0.0)
    steps = np.arange(layout.n_steps)
    given = state[:, steps - steps % KEYFRAME_STEPS]
    return (given + 0.02 * draws.z_track).reshape(*active.shape[:2], -1)


def _stretch(draws: Draws, k: int, layout: Layout) -> BoolArray:
    """Steps (n, steps) of the k-th trouble."""
    whether, start = draws.u_trouble[:, k, 0, None], draws.u_trouble[:, k, 1, None]
    since = np.arange(layout.n_steps) - np.floor(start * layout.n_steps)
    return (whether < layout.trouble) & (since >= 0) & (since < layout.n_steps // _GAP_SHARE)


def _last(event: BoolArray) -> IntArray:
    """Step of the last event up to each step, 0 before the first; steps are the second axis."""
    steps = np.arange(event.shape[1]).reshape(1, -1, *[1] * (event.ndim - 2))
    return np.maximum.accumulate(np.where(event, steps, 0), 1)


def _at(values: npt.NDArray[T], step: IntArray) -> npt.NDArray[T]:
    """Values (n, steps, ...) at the steps (n, steps)."""
    return values[np.arange(len(step))[:, None], step]
