"""Size of exported graphs and their time per clip, beside torch: one clip after another, one thread, in turn.

    python tools/bench_export.py [data=DIR] [detector=statistics] [machines=a,b] [seconds=1,2,10]

Each machine is fitted to its train/ with the detector's defaults. Clips of the wanted length are its test clips end to
end. Prints one Markdown row per machine and length: megabytes, milliseconds (median) by onnxruntime and by torch, their
ratio, and the largest difference of the scores as `asd.deploy.export.difference` has it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

import asd
from asd.data.audio import read_wav
from asd.deploy.export import as_onnx, difference, graph_score, session_of, spread_of
from asd.deploy.stream import Samples

N_CLIPS = 12


def main(arguments: Sequence[str]) -> int:
    """Measures what the command line asks for; returns the exit status."""
    words = {"data": "../shared/data/machines", "detector": "statistics", "machines": "", "seconds": "1,2,10"}
    words |= dict(word.split("=", 1) for word in arguments)
    torch.set_num_threads(1)
    root = Path(words["data"])
    names = words["machines"].split(",") if words["machines"] else sorted(p.name for p in root.iterdir())
    print("| machine | clip | graph | onnxruntime | torch | ratio | difference |\n|---|---|---|---|---|---|---|")
    for name in names:
        _measure(root / name, words["detector"], [float(s) for s in words["seconds"].split(",")])
    return 0


def _measure(folder: Path, detector: str, seconds: Sequence[float]) -> None:
    model = asd.fit(folder / "train", machine=folder.name, detector=detector, device="cpu")
    rate_hz = model.options.sample_rate_hz
    content = as_onnx(model.detector, model.scorers[0], {})
    session = session_of(content)
    sound = np.concatenate([read_wav(path)[0][0] for path in sorted((folder / "test").glob("*.wav"))])
    for length_s in seconds:
        n = round(length_s * rate_hz)
        clips = [sound[i * n : (i + 1) * n] for i in range(min(N_CLIPS, len(sound) // n))]
        graph = _timed(lambda clip: graph_score(session, clip), clips)
        own = _timed(lambda clip: model.score(clip, rate_hz).score, clips)
        apart = difference(graph[0], own[0], spread_of(model, model.scorers[0]))
        print(
            f"| {folder.name} | {length_s:g} s | {len(content) / 1e6:.1f} MB | {graph[1]:.0f} ms | {own[1]:.0f} ms "
            f"| {graph[1] / own[1]:.1f} | {apart:.0e} |",
            flush=True,
        )


def _timed(score: Callable[[Samples], float], clips: Sequence[Samples]) -> tuple[list[float], float]:
    """Scores, and the median of their milliseconds; the first call is not counted."""
    score(clips[0])
    scores, times_ms = [], []
    for clip in clips:
        started_s = time.perf_counter()
        scores.append(score(clip))
        times_ms.append(1e3 * (time.perf_counter() - started_s))
    return scores, float(np.median(times_ms))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
