"""Small generated data for tests: tones in noise under the challenge's names, and synthetic machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from asd.challenge import files
from asd.data.codecs import write_wav
from asd.data.recordings import Recordings, check
from asd.detectors.base import RunContext
from asd.scoring.references import References
from asd.types import Clip, Split


def write_clip(path: Path, seed: int, duration_s: float = 1.0, tone_hz: float = 0.0) -> Path:
    """A clip of coloured noise with a hum, and a tone where `tone_hz` is given."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(16000 * duration_s)) / 16000
    noise = np.convolve(rng.normal(size=len(time_s)), [0.5, 0.3, 0.2], mode="same")
    wave = 0.05 * noise + 0.1 * np.sin(2 * np.pi * 120 * time_s + rng.uniform(0, 6))
    if tone_hz:
        wave += 0.1 * np.sin(2 * np.pi * tone_hz * time_s)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, wave[None].astype(np.float32), 16000)
    return path


def tone_machine(root: Path, machine: str = "fan", n_train: int = 24, n_target: int = 4, n_test: int = 6) -> Path:
    """A machine whose anomalies have an added tone of 3 kHz; target clips are a little longer."""
    seed = 0
    for domain, count in (("source", n_train - n_target), ("target", n_target)):
        for i in range(count):
            name = f"section_00_{domain}_train_normal_{i:04d}_speed_{1 + i % 2}.wav"
            write_clip(root / machine / "train" / name, seed := seed + 1, 1.0 + 0.25 * (domain == "target"))
    for domain in ("source", "target"):
        for label, tone_hz in (("normal", 0.0), ("anomaly", 3000.0)):
            for i in range(n_test):
                name = f"section_00_{domain}_test_{label}_{i:04d}_speed_{1 + i % 2}.wav"
                write_clip(root / machine / "test" / name, seed := seed + 1, 1.0 + 0.1 * (i % 3), tone_hz)
    return root


def two_sections(root: Path) -> None:
    """Nine training clips of a fan in section 00, and nine with a tone in section 03."""
    for section, seed in ((0, 0), (3, 100)):
        for i in range(9):
            name = f"section_{section:02d}_source_train_normal_{i:04d}.wav"
            write_clip(root / "fan/train" / name, seed + i, tone_hz=500.0 * section)


def recordings(root: Path, machine: str = "fan", split: Split = Split.TRAIN) -> Recordings:
    """Checked clips of a machine."""
    return check(files.list_clips(root, machine, split), sample_rate_hz=16000)


def two_microphones(root: Path, n_samples: int = 8000) -> list[Clip]:
    """Six training clips of noise, another at each of two microphones."""
    rng = np.random.default_rng(0)
    folder = root / "fan/train"
    folder.mkdir(parents=True)
    for i in range(6):
        wave = (0.1 * rng.normal(size=(2, n_samples))).astype(np.float32)
        write_wav(folder / f"section_00_source_train_normal_{i:04d}.wav", wave, 16000)
    return files.list_clips(root, "fan", Split.TRAIN)


def run_context(folder: Path, seed: int = 0) -> RunContext:
    """A place to work in, on the CPU."""
    return RunContext(torch.device("cpu"), folder / "cache", folder / "run", seed)


def references(n: int = 60, dims: int = 5, n_target: int = 10, seed: int = 0, shift: float = 6.0) -> References:
    """Correlated vectors of two domains, the target last and shifted."""
    rng = np.random.default_rng(seed)
    is_target = np.arange(n) >= n - n_target
    vectors = rng.normal(size=(n, dims)) @ rng.normal(size=(dims, dims)) + shift * is_target[:, None]
    return References(vectors, is_target.astype(np.int64), is_target)


def write_media(path: Path, codec: str, wave: np.ndarray[Any, Any], rate_hz: int) -> Path:
    """A mono waveform (samples,) as a phone or a browser stores it, by the libraries of ffmpeg."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = rate_hz
        kind, size = stream.codec_context.format.name, stream.codec_context.frame_size or 1024
        fit = av.AudioResampler(format=kind, layout="mono", rate=rate_hz, frame_size=size)
        for part in [*fit.resample(frame), *fit.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path
