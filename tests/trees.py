"""Generated folders of recordings in layouts of one's own, each with one machine that hums and faults that whistle."""

from __future__ import annotations

from pathlib import Path

from tests.machines import write_clip

NORMAL = {  # layout: where the recordings of a machine lie; {} is their number
    "plain": "pump/normal/2026-03-{:02d} hall.wav",
    "industrial": "pump/train/good/{:03d}.wav",
    "mimii": "pump/id_02/normal/{:08d}.wav",
    "toyadmos": "ToyCar/case1/NormalSound_IND/11000100{0:02d}_ToyCar_case1_normal_IND_ch1_{0:04d}.wav",
}
FAULTY = {
    "plain": "pump/leak/2026-03-{:02d} hall.wav",
    "industrial": "pump/test/leak/{:03d}.wav",
    "mimii": "pump/id_02/abnormal/{:08d}.wav",
    "toyadmos": "ToyCar/case1/AnomalousSound_IND/11010100{0:02d}_ToyCar_case1_ab01_IND_ch1_{0:04d}.wav",
}


def write_tree(root: Path, layout: str, n_normal: int = 15, n_faulty: int = 3) -> Path:
    """A folder with recordings of a second in a layout."""
    for i in range(n_normal):
        write_clip(root / NORMAL[layout].format(i + 1), i)
    for i in range(n_faulty):
        write_clip(root / FAULTY[layout].format(i + 1), 100 + i, tone_hz=3000.0)
    return root
