"""What listening and serving cost, beside the bare model: two Markdown tables for BENCHMARKS.md.

    python tools/bench_deploy.py [data=DIR machine=fan] [requests=512] [out=FOLDER]

The load stays on this computer (loopback) and ends after so many requests. Without `data=`, a
synthetic machine is used.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

import asd
from asd.data.audio import read_wav
from asd.data.codecs import write_wav
from asd.synthetic import make_machines

CLIENTS = (1, 8, 64)
MINUTES = 5


def main() -> None:
    """Measures and prints."""
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    with TemporaryDirectory() as folder:
        place, machine = Path(given.get("out", folder)), given.get("machine", "fan")
        data = Path(given["data"]) if "data" in given else _made(place / "data")
        model = asd.fit(data / machine / "train", machine=machine, device="cpu")
        model.save(place / "runs/bench", machine)
        clips = sorted((data / machine / "test").glob("*.wav"))[:64]
        print("\n".join(listening(place, clips)), "\n")
        print("\n".join(asyncio.run(serving(place, model, clips, int(given.get("requests", 512))))))


def _made(folder: Path) -> Path:
    make_machines(folder, ["fan"], train_source=90, train_target=10, test_per_cell=8, duration_s=10.0)
    return folder


def listening(place: Path, clips: list[Path]) -> Iterator[str]:
    """Share of one core that a stream takes, by length of the window."""
    waves = [read_wav(path)[0][:1] for path in clips]
    stream = np.concatenate(waves * 40, axis=1)[:, : MINUTES * 60 * 16000]
    write_wav(place / "stream.wav", stream, 16000)
    yield f"| `listen`, {stream.shape[1] / 16000:.0f} s of sound | scores | one core |"
    yield "|---|---|---|"
    for words in ([], ["window_s=1"], ["window_s=2"]):
        command = ["listen", "name=bench", f"runs={place / 'runs'}", f"input={place / 'stream.wav'}", *words]
        said = _asd(*command, f"out={place / 'out'}-{len(words)}-{''.join(words)}")
        scores, share = re.findall(r"(\d+) scores, .* ([\d.]+%) of one core", said)[0]
        yield f"| {' '.join(words) or 'a training clip, by default'} | {scores} | {share} |"


def _asd(*words: str) -> str:
    command = [sys.executable, "-m", "asd", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


async def serving(place: Path, model: Any, clips: list[Path], n_requests: int) -> list[str]:
    """Throughput and latency of the service, and of the model alone."""
    rows = ["| one recording at a time | recordings a second | median | p99 |", "|---|---|---|---|"]
    took_s = []
    for i in range(n_requests):
        started_s = time.perf_counter()
        model.score_files(clips[i % len(clips)])
        took_s.append(time.perf_counter() - started_s)
    rows.append(_row("the model alone", took_s, sum(took_s)))
    with _service(place) as address:
        for n_clients in CLIENTS:
            rows.append(await _load(address, clips, n_clients, n_requests))
    return rows


async def _load(address: str, clips: list[Path], n_clients: int, n_requests: int) -> str:
    contents, took_s, numbers = [path.read_bytes() for path in clips], [], iter(range(n_requests))

    async def one(client: httpx.AsyncClient) -> None:
        for i in numbers:
            started_s = time.perf_counter()
            answer = await client.post("/score", content=contents[i % len(contents)])
            took_s.append(time.perf_counter() - started_s)
            assert answer.status_code == 200, answer.text

    limits = httpx.Limits(max_connections=n_clients)
    async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as client:
        await client.post("/score", content=contents[0])
        started_s = time.perf_counter()
        await asyncio.gather(*(one(client) for _ in range(n_clients)))
        return _row(f"`serve`, {n_clients} clients", took_s, time.perf_counter() - started_s)


def _row(name: str, took_s: list[float], all_s: float) -> str:
    middle, late = np.percentile(took_s, [50, 99]) * 1000
    return f"| {name} | {len(took_s) / all_s:.1f} | {middle:.0f} ms | {late:.0f} ms |"


@contextmanager
def _service(place: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "asd", "serve", f"runs={place / 'runs'}", "port=0", "rate=1000000"]
    with subprocess.Popen([*command, "timeout_s=300"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            for line in process.stderr:
                if found := re.search(r"at (http://\S+);", line):
                    yield found[1]
                    break
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
