"""tests/golden/reference.tar.xz from ../shared/reference: official numbers that a public clone tests with.

    python tools/golden.py

The archive lies as the folder does, so a test reads either. It holds made-up submissions with what the official
evaluators say of them, the labels of the evaluation sets, the official autoencoder's scores of a real machine, values
and gradients of a public toolkit's losses, and one of the two inputs of each tiny encoder. No recording is in it:
their publishers do not allow that. It is made once and never from this package's own results.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT.parent / "shared/reference"
TARGET = ROOT / "tests/golden/reference.tar.xz"
WHOLE = ("evaluator/**/*.csv", "ground_truth/*", "metric_learning/*", "baseline_ae/*/*.csv", "baseline_ae/*/*.json")
EAT_TIMES = 16  # of the positions of the tiny EAT, those that its input has
EAT_BANDS = 8


def excerpt(encoder: Path) -> dict[str, bytes]:
    """Weights, configuration and input and output of one clip of a tiny encoder."""
    config = json.loads((encoder / "config.json").read_text())
    weights = load_file(encoder / "weights.safetensors")
    positions = "fixed_positional_encoder.positions"
    if positions in weights:
        config["max_length"] = EAT_TIMES
        weights[positions] = np.ascontiguousarray(weights[positions][:, : EAT_TIMES * EAT_BANDS])
    clip_axis = {"layers": 1}
    with np.load(encoder / "io.npz") as arrays:
        one = {name: arrays[name].take([0], axis=clip_axis.get(name, 0)) for name in arrays}
    buffer = io.BytesIO()
    np.savez(buffer, **one)
    return {
        "config.json": json.dumps(config, indent=1).encode(),
        "weights.safetensors": save(weights),
        "io.npz": buffer.getvalue(),
    }


def contents() -> dict[str, bytes]:
    """Bytes of every file of the archive by its path."""
    found = {str(path.relative_to(SOURCE)): path.read_bytes() for pattern in WHOLE for path in SOURCE.glob(pattern)}
    for encoder in sorted((SOURCE / "encoders").iterdir()):
        found |= {f"encoders/{encoder.name}/{name}": content for name, content in excerpt(encoder).items()}
    return found


def main() -> None:
    """Writes the archive; the same folder gives the same bytes."""
    with tarfile.open(TARGET, "w:xz", preset=9) as archive:
        for name, content in sorted(contents().items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
