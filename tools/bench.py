"""Our side of BENCHMARKS.md: what each stage costs on one machine of full size, as a Markdown table.

    python tools/bench.py [machine=fan] [data=DIR] [epochs=3] [device=auto]

Without data=, a synthetic machine of full size (1,000 + 200 clips of 10 s) is made under data/bench and kept.
Every stage runs in a process of its own, so that its peak memory is its own; feature caches start empty.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from importlib.metadata import version
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import make_machine
from pydantic import Field

from asd.options import Settings
from asd.settings.parsing import parse
from asd.types import AsdError

if TYPE_CHECKING:  # torch stays out of the parent process
    import torch

    from asd.data.recordings import Recordings
    from asd.detectors.autoencoder import Autoencoder
    from asd.stages.jobs import Job

EVALUATOR = Path(__file__).resolve().parents[2] / "shared/reference/evaluator/2024"
OFFICIAL_EPOCHS = 100
FLOOR_STEPS = 200


class Bench(Settings):
    """What is measured."""

    machine: str = Field("fan", pattern="^[^,]+$")  # one at a time
    data: Path = Path("data/bench")  # a machine is made there
    epochs: int = 3
    device: str = "auto"


class Row(NamedTuple):
    """One line of the table; the peak memory is that of the stage's process."""

    stage: str
    seconds: float
    remark: str


Stage = Callable[[list[str]], list[Row]]  # words of `asd train` -> what was measured


def main(arguments: Sequence[str]) -> int:
    """Measures all stages and prints the table; returns the exit status."""
    try:
        config = parse(Bench, arguments)
        if "data" not in config.model_fields_set:
            with redirect_stdout(sys.stderr):
                if make_machine.main([f"out={config.data}", f"machine={config.machine}"]):
                    return 2
        words = {"machine": config.machine, "data": config.data, "training.epochs": config.epochs}
        run = ["detector=autoencoder", f"device={config.device}", *(f"{key}={value}" for key, value in words.items())]
        print(f"{_environment()}\n`python tools/bench.py {' '.join(arguments)}`\n")
        print("| stage | time | peak memory | remark |\n|---|---|---|---|")
        with tempfile.TemporaryDirectory() as folder:
            for stage in (check, features, training, floor, scoring, evaluation):
                _report(stage, [*run, f"runs={folder}/stages"])
            _report(whole_command, [*run, f"runs={folder}/whole"])
    except AsdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def check(words: list[str]) -> list[Row]:
    """Look at every recording, as `train` does before it starts."""
    begun = time.perf_counter()
    job = _job(words)
    seconds = time.perf_counter() - begun
    n_clips = sum(map(len, _parts(job)))
    return [Row("check of the recordings", seconds, f"{n_clips:,} clips: headers, silence, fingerprint")]


def _parts(job: Job) -> list[Recordings]:
    """Training and test clips, as far as there are any."""
    return [part for part in (job.learn, job.test.recordings if job.test else None) if part is not None]


def features(words: list[str]) -> list[Row]:
    """From WAV files to the log-mel frames on disk."""
    from asd.features.frames import log_mel_frames

    detector, job = _detector(words)
    place = detector.context
    begun = time.perf_counter()
    for recordings in _parts(job):
        log_mel_frames(recordings, detector.log_mel, place.cache, place.device)
    seconds = time.perf_counter() - begun
    sizes = {
        split: sum(file.stat().st_size for file in place.cache.glob(f"*-{split}-*/*")) / 1e6
        for split in ("train", "test")
    }
    return [Row("features", seconds, ", ".join(f"{split} {size:.1f} MB" for split, size in sizes.items()))]


def training(words: list[str]) -> list[Row]:
    """Epochs as the run itself logs them, and what `fit` does besides."""
    detector, job = _detector(words)
    assert job.learn  # `_job` asks for training clips
    begun = time.perf_counter()
    detector.fit(job.learn)
    total = time.perf_counter() - begun
    lines = (job.run.path / "metrics.jsonl").read_text().splitlines()
    epochs = [json.loads(line)["seconds"] for line in lines]
    later = epochs[1:] or epochs  # the first one also warms up
    mean = sum(later) / len(later)
    job.run.model.mkdir()
    detector.save(job.run.model)
    spread = f"{min(later):.2f} to {max(later):.2f} s; {OFFICIAL_EPOCHS} epochs: {OFFICIAL_EPOCHS * mean:.0f} s"
    return [
        Row("training, one epoch", mean, spread + _gpu_peak(detector)),
        Row("training, the rest", total - sum(epochs), "frames to memory, state of every epoch, covariances"),
    ]


def floor(words: list[str]) -> list[Row]:
    """The matrix products of an epoch and nothing else, at the speed this machine does them."""
    import torch

    detector, job = _detector(words)
    assert job.learn  # `_job` asks for training clips
    hop, n_frames = detector.log_mel["hop_samples"], detector.n_frames
    n_windows = int((1 + job.learn.lengths_samples // hop - (n_frames - 1)).sum())
    n_learn = n_windows - n_windows // 10  # the rest is only reconstructed, for the validation loss
    layers = [m for m in detector.network.modules() if isinstance(m, torch.nn.Linear)]
    forward = sum(2 * layer.weight.numel() for layer in layers)  # operations per window
    first = 2 * layers[0].weight.numel()  # the gradient of the input is not needed
    total = n_learn * (3 * forward - first) + (n_windows - n_learn) * forward
    batch = detector.settings.training.batch_size
    per_second = batch * (3 * forward - first) / _product_seconds(layers, batch, detector.context.device)
    remark = f"{total / 1e12:.2f} TFLOP at {per_second / 1e9:,.0f} GFLOP/s; {n_windows:,} windows in batches of {batch}"
    return [Row("arithmetic floor of an epoch", total / per_second, remark)]


def scoring(words: list[str]) -> list[Row]:
    """Scores of the test clips from model and cached features."""
    detector, job = _detector(words)
    assert job.test, "the recordings have no test clips"
    detector.load(job.run.model)
    begun = time.perf_counter()
    detector.score(job.test.recordings)
    seconds = time.perf_counter() - begun
    return [Row("scoring", seconds, f"{len(job.test.recordings)} clips by {' and '.join(detector.scorers)}")]


def evaluation(words: list[str]) -> list[Row]:
    """The five systems of 2024 as the organisers evaluate them; nothing where the reference is absent."""
    from asd.challenge.evaluator import evaluate_submissions

    if not EVALUATOR.is_dir():
        return []
    with tempfile.TemporaryDirectory() as out:
        begun = time.perf_counter()
        evaluate_submissions(EVALUATOR / "submissions", EVALUATOR, 2024, Path(out))
        seconds = time.perf_counter() - begun
    return [Row("evaluation of five submissions of 2024", seconds, "result files, intervals and bootstrap")]


def whole_command(words: list[str]) -> list[Row]:
    """`asd train` from nothing to DONE: imports, check, features, training, scoring."""
    from asd.__main__ import main as asd

    begun = time.perf_counter()
    with redirect_stdout(sys.stderr):
        status = asd(["train", *words])
    seconds = time.perf_counter() - begun
    if status:
        raise AsdError(f"asd train {' '.join(words)} ended with exit status {status}")
    return [Row("`asd train`, all of it", seconds, words[-2])]


def _job(words: list[str]) -> Job:
    from asd.settings.config import Run
    from asd.stages.jobs import dataset_of, prepare

    config = parse(Run, words)
    return next(prepare(config, dataset_of(config), learn=True))


def _detector(words: list[str]) -> tuple[Autoencoder, Job]:
    from asd.core.runtime import pick_device
    from asd.detectors.autoencoder import Autoencoder
    from asd.detectors.base import RunContext

    job = _job(words)
    place = RunContext(
        device=pick_device(job.config.device),
        cache=job.config.runs / ".cache",
        directory=job.run.path,
        seed=job.run.seed,
        fingerprint=job.model_fingerprint,
    )
    return Autoencoder(place, job.config.autoencoder), job


def _product_seconds(layers: Sequence[torch.nn.Linear], batch: int, device: torch.device) -> float:
    """Mean time of the matrix products of one training step: forward, weight and input gradients."""
    import torch

    widths = [layers[0].in_features, *(layer.out_features for layer in layers)]
    acts = [torch.randn(batch, width, device=device) for width in widths]
    weights = [torch.randn(after, before, device=device) for before, after in pairwise(widths)]
    gradients = [torch.empty_like(weight) for weight in weights]
    outs = [torch.empty_like(act) for act in acts]

    def step() -> None:
        for i, weight in enumerate(weights):
            torch.mm(acts[i], weight.T, out=outs[i + 1])
            torch.mm(acts[i + 1].T, acts[i], out=gradients[i])
            if i:
                torch.mm(acts[i + 1], weight, out=outs[i])

    def timed() -> float:
        begun = time.perf_counter()
        for _ in range(FLOOR_STEPS):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - begun) / FLOOR_STEPS

    timed()  # warms up
    return min(timed() for _ in range(3))


def _gpu_peak(detector: Autoencoder) -> str:
    import torch

    device = detector.context.device
    return f"; GPU memory {torch.cuda.max_memory_allocated(device) / 2**20:.0f} MiB" if device.type == "cuda" else ""


def _report(stage: Stage, words: list[str]) -> None:
    """Runs a stage in a process of its own and prints its rows."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        rows, peak_mib = pool.submit(_with_peak, stage, words).result()
    for row in rows:
        print(f"| {row.stage} | {row.seconds:.2f} s | {peak_mib:,.0f} MiB | {row.remark} |", flush=True)


def _with_peak(stage: Stage, words: list[str]) -> tuple[list[Row], float]:
    rows = stage(words)
    # Not getrusage: its maximum outlives exec, so a child would be charged with its parent's memory.
    status = Path("/proc/self/status").read_text()
    return rows, int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def _environment() -> str:
    """What the figures depend on besides the code."""
    cpu = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) or [platform.machine()]
    load, threads = os.getloadavg()[0], os.environ.get("OMP_NUM_THREADS", "all")
    return (
        f"{time.strftime('%Y-%m-%d')}, {cpu[0]}, {os.cpu_count()} cores (OMP_NUM_THREADS: {threads}), load {load:.1f}, "
        f"Python {platform.python_version()}, torch {version('torch')}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
