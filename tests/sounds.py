"""Small generated events for tests of event detection: tones of four pitches from three sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asd.data.codecs import write_wav

RATE_HZ = 4000
PITCHES_HZ = {"low": 300.0, "mid": 700.0, "high": 1500.0}
SOURCES = ("ann", "bob", "eve")

SOUNDSCAPES = (
    "background=synthetic",
    f"sample_rate_hz={RATE_HZ}",
    "duration_s=2",
    "strong=24",
    "weak=8",
    "unlabelled=8",
    "validation=12",
    "test=8",
    "least_snr_db=15",
)
TRAIN = (
    f"features.sample_rate_hz={RATE_HZ}",
    "features.n_fft=256",
    "features.hop_samples=160",
    "features.n_mels=16",
    "network.channels=8,8",
    "network.pools=4,2",
    "network.n_recurrent=8",
    "network.n_heads=4",
    "network.n_feedforward=16",
    "training.epochs=2",
    "training.batch_size=8",
    "training.learning_rate=1e-2",
    "device=cpu",
)


def write_events(folder: Path, per_source: int = 3) -> Path:
    """<folder>/<label>_<source>_<i>.wav: a decaying tone of the label's pitch, a little off for every source."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for label, pitch_hz in PITCHES_HZ.items():
        for k, source in enumerate(SOURCES):
            for i in range(per_source):
                time_s = np.arange(int(RATE_HZ * rng.uniform(0.3, 0.5))) / RATE_HZ
                wave = 0.3 * np.sin(2 * np.pi * pitch_hz * (1 + 0.03 * k) * time_s) * np.exp(-2 * time_s)
                write_wav(folder / f"{label}_{source}_{i}.wav", wave[None].astype(np.float32), RATE_HZ)
    return folder
