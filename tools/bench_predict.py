"""Recordings a second of `predict`, against how many there are and how many workers: a Markdown table.

    python tools/bench_predict.py [files=1000,10000] [workers=1,2] [duration_s=1] [place=data/bench_predict]

The recordings are links to 96 synthetic ones, so the disk is out of the picture. Peak memory is that of the largest
process. Seconds are those of the whole command, with its imports and the start of its workers. Core-seconds are what
its processes computed, which other programs on the computer change less.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from asd.synthetic import make_machines


def main(words: list[str]) -> None:
    """Prepares a run and recordings, then measures one command after another."""
    given = dict(word.split("=", 1) for word in words)
    place = Path(given.get("place", "data/bench_predict"))
    sources = _prepare(place, float(given.get("duration_s", "1")))
    print("| recordings | workers | seconds | core-seconds | core-milliseconds each | peak memory |")
    print("|---|---|---|---|---|---|")
    for count in map(int, given.get("files", "1000,10000").split(",")):
        inbox = _inbox(place / f"inbox{count}", sources, count)
        for workers in map(int, given.get("workers", "1,2").split(",")):
            seconds, core_s, mebibytes = _measured(place, inbox, workers)
            row = f"| {count:,} | {workers} | {seconds:.1f} | {core_s:.1f} | {1000 * core_s / count:.1f} |"
            print(f"{row} {mebibytes:,.0f} MiB |", flush=True)


def _prepare(place: Path, duration_s: float) -> list[Path]:
    """A trained run in `place`, and the recordings that are linked to."""
    data = place / "data"
    if not data.is_dir():
        make_machines(data, ["fan"], train_source=240, train_target=10, test_per_cell=24, duration_s=duration_s)
    command = ["train", "machine=fan", f"data={data}", f"runs={place / 'runs'}", "device=cpu"]
    subprocess.run([sys.executable, "-m", "asd", *command], check=True, stdout=subprocess.DEVNULL)
    return sorted((data / "fan/test").glob("*.wav"))


def _inbox(folder: Path, sources: list[Path], count: int) -> Path:
    """A folder of so many recordings."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for i in range(count):
        (folder / f"{i:08d}.wav").hardlink_to(sources[i % len(sources)])
    return folder


def _measured(place: Path, inbox: Path, workers: int) -> tuple[float, float, float]:
    """Seconds, core-seconds and MiB of a command from nothing."""
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    where = ["executor=local", f"workers={workers}"]
    words = ["predict", f"audio={inbox}", f"runs={place / 'runs'}", f"out={out}", "device=cpu", *where]
    started_s = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "asd", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"predict ended with status {status}")
    return time.perf_counter() - started_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1:])
