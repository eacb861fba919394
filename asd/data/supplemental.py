"""Recordings beside the training clips, used by choice: noise without the machine, the machine without noise.

    noise   mix        the training clips once more with noise in them, at a drawn ratio, to learn from
            negatives  recordings of what is not the machine: a class of its own, or directions left out
            profile    its mean magnitudes are subtracted from every clip
    clean   references more normal clips to learn from
            activity   what a frame sounds like in which the machine is at work: the others are turned down

2025 gave one or the other for each machine, so a machine that lacks a kind is only named. When noise is mixed in, what
is random is drawn first and then applied. The ratio holds for the first channel, and all channels of the noise get one
gain, as in a room.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from asd.challenge.files import list_clips
from asd.challenge.names import CONTENT
from asd.core.runtime import log
from asd.data.audio import Sound
from asd.data.codecs import Waveform
from asd.data.recordings import Recordings, joined
from asd.options import Settings
from asd.types import AsdError, Clip, FrontEnd, Split

_MOST_SECONDS = 120.0  # of noise or of the machine that a front end is fitted on
LEAST_SNR_DB, MOST_SNR_DB = (0.0, 12.0)  # power of the recording, machine and background, over that of the added noise


@dataclass(frozen=True)
class Supplement:
    """Recordings to learn from besides a machine's training clips."""

    extra_normals: Recordings | None = None  # of the machine; they are not scored
    noise_only: Recordings | None = None  # without the machine
    other_machines: Recordings | None = None  # normal training clips, for detectors that learn jointly


NOTHING = Supplement()


class SupplementalPolicy(Settings):
    """What recordings in supplemental/ are for: noise without the machine, the machine without noise."""

    noise: Literal["ignore", "mix", "negatives", "profile"] = Field(
        "ignore", description="noise-only: ignore, mix, negatives or profile"
    )
    clean: Literal["ignore", "references", "activity"] = Field(
        "ignore", description="clean: ignore, references or activity"
    )

    def clips(self, root: Path, machine: str) -> list[Clip]:
        """The clips in <root>/<machine>/supplemental that are of use; `AsdError` where a name tells no kind."""
        clips = list_clips(root, machine, Split.SUPPLEMENTAL)
        if nameless := [clip for clip in clips if CONTENT not in clip.attributes]:
            raise AsdError(
                f"{nameless[0].path} does not say what is recorded: put 'noise' or 'machine' into its name, as in "
                f"section_00_noise_0000.wav, or remove it"
            )
        wanted = {"noise": self.noise, "machine": self.clean}
        for content, what, word in (("noise", "noise-only", "noise"), ("machine", "clean", "clean")):
            if wanted[content] != "ignore" and not _of(clips, content):
                option = f"supplemental.{word}={wanted[content]}"
                log.warning(f"{machine} has no {what} recordings in supplemental/: {option} does nothing for it")
        return [clip for clip in clips if wanted[clip.attributes[CONTENT]] != "ignore"]

    def front_end(self, plain: FrontEnd, recordings: Recordings) -> FrontEnd:
        """The front end with the noise's profile and the machine's activity, where these are in use."""
        noise, clean = _parts(recordings)
        profile = _profile(noise) if noise and self.noise == "profile" else ()
        activity = _activity(clean, noise) if clean and self.clean == "activity" else ()
        return replace(plain, profile=profile, activity=activity)

    def supplement(self, train: Recordings, recordings: Recordings, seed: int) -> Supplement:
        """Recordings to learn from besides the training clips."""
        noise, clean = _parts(recordings)
        extra = [clean] if clean and self.clean == "references" else []
        noise_only = None
        if noise and self.noise == "mix":
            extra.append(replace(train, sounds=mix_noise(train.sounds, noise.sounds, seed)))
        if noise and self.noise == "negatives":
            # Not of the machine: encoders see classes apart from the machine's own.
            apart = [replace(clip, machine=f"{clip.machine}-noise") for clip in noise.clips]
            noise_only = replace(noise, clips=tuple(apart), front_end=train.front_end)
        extra_normals = replace(joined(extra), front_end=train.front_end) if extra else None
        return Supplement(extra_normals, noise_only)


def _of(clips: Sequence[Clip], content: str) -> list[int]:
    return [i for i, clip in enumerate(clips) if clip.attributes[CONTENT] == content]


def _parts(recordings: Recordings) -> tuple[Recordings, Recordings]:
    """Those of noise and those of the machine alone, of which there may be none."""
    noise, clean = (recordings.subset(_of(recordings.clips, content)) for content in ("noise", "machine"))
    return noise, clean


def _profile(noise: Recordings) -> tuple[float, ...]:
    """Mean magnitudes (bins,) of the noise."""
    import torch

    from asd.data.frontends import magnitude_profile

    profiles = [magnitude_profile(waves) for _, waves in _some(noise).batches()]
    return tuple(torch.cat(profiles).mean(0).tolist())


def _activity(clean: Recordings, noise: Recordings) -> tuple[float, ...]:
    """Weights of the model of when the machine is active: learnt with noise mixed in where there is some."""
    import torch

    from asd.data.frontends import activity_target, fit_activity

    some = _some(clean)
    length = int(some.lengths_samples.min())
    alone = noisy = [some.waveform(i)[None, :length] for i in range(len(some))]
    if noise:
        noises = [Sound.of(noise.waveform(i)[None], some.sample_rate_hz) for i in range(len(noise))]
        sounds = [Sound.of(waveform, some.sample_rate_hz) for waveform in alone]
        noisy = [sound.waveform(1) for sound in mix_noise(sounds, noises, 0)]
    target = activity_target(torch.from_numpy(np.concatenate(alone)))
    return tuple(fit_activity(torch.from_numpy(np.concatenate(noisy)), target).tolist())


def _some(recordings: Recordings) -> Recordings:
    """The first recordings, as long as `_MOST_SECONDS` in all: more would not change a mean."""
    seconds = np.cumsum(recordings.durations_s)
    return recordings.subset(range(max(1, int(np.searchsorted(seconds, _MOST_SECONDS)))))


@dataclass(frozen=True, eq=False, kw_only=True)
class MixedSound(Sound):
    """A recording with noise in it."""

    recording: Sound
    noise: Sound
    snr_db: float  # power of the recording over that of the added noise
    start: float  # where in the noise the recording begins, as a share of its length

    @classmethod
    def with_noise(cls, recording: Sound, noise: Sound, snr_db: float, start: float) -> MixedSound:
        """The recording with that much noise in it."""
        parts = json.dumps([recording.content, noise.content, snr_db, start])
        return cls(
            path=recording.path,
            content=hashlib.sha256(parts.encode()).hexdigest(),
            sample_rate_hz=recording.sample_rate_hz,
            file_rate_hz=recording.file_rate_hz,
            n_channels=min(recording.n_channels, noise.n_channels),
            n_samples=recording.n_samples,
            recording=recording,
            noise=noise,
            snr_db=snr_db,
            start=start,
        )

    def waveform(self, n_microphones: int) -> Waveform:
        """The first microphones, (n_microphones, samples)."""
        recording, noise = self.recording.waveform(n_microphones), self.noise.waveform(n_microphones)
        return mix(recording, noise, self.snr_db, self.start)


def mix_noise(sounds: Sequence[Sound], noises: Sequence[Sound], seed: int) -> list[MixedSound]:
    """Each recording with one of the noises at a drawn ratio; a function of the seed and its place in the sequence."""
    mixed = []
    for index, sound in enumerate(sounds):
        rng = np.random.default_rng([seed, index])
        noise = noises[int(rng.integers(len(noises)))]
        snr_db = rng.uniform(LEAST_SNR_DB, MOST_SNR_DB)
        mixed.append(MixedSound.with_noise(sound, noise, snr_db, rng.uniform()))
    return mixed


def mix(recorded: Waveform, noise: Waveform, snr_db: float, start: float) -> Waveform:
    """A recording (channels, samples) with noise in it, the latter repeated where it is shorter; see `MixedSound`.

    The ratio holds for the first channel. Where one of the two is silent, the recording is returned as it is.
    """
    n_samples, n_noise = recorded.shape[1], noise.shape[1]
    cut = noise[:, (int(start * n_noise) + np.arange(n_samples)) % n_noise]
    power, noise_power = (float(np.square(x[0], dtype=np.float64).mean()) for x in (recorded, cut))
    if not noise_power:
        return recorded
    gain = np.sqrt(power / noise_power) * 10 ** (-snr_db / 20)
    return np.asarray(recorded + np.float32(gain) * cut, np.float32)
