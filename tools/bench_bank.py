"""Time, memory and recall of the neighbour bank on made-up vectors of any number.

    python tools/bench_bank.py [n=1000000] [dims=128] [queries=1000] [k=10] [index=auto] [metric=euclid]
        [device=cpu] [exact_queries=1000] [seed=0] [folder=]

Vectors are as frames of machines are: 2,000 states of unequal frequency, within each of which they vary
along 16 shared directions, with a little noise. Queries are fresh draws. Recall compares with the nearest of all
vectors to the first `exact_queries` queries, measured block by block after all else. With `folder=` the vectors lie in
a memory-mapped file there while the program runs, so there may be more of them than fit into memory. What the bank
itself takes is the memory of the process without mapped files.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asd.options import Settings
from asd.scoring.neighbours import IndexName, NeighbourBank
from asd.scoring.references import Metric
from asd.settings.parsing import parse
from asd.types import AsdError

STATES, DIRECTIONS, NOISE = 2000, 16, 0.3
BLOCK_ROWS = 200_000
NEAR_ROWS = 4_000  # whose distances to all queries stay in the cache


class Bank(Settings):
    """What is measured."""

    n: int = 1_000_000
    dims: int = 128
    queries: int = 1000
    k: int = 10
    index: IndexName = "auto"
    metric: Metric = "euclid"
    device: str = "cpu"
    exact_queries: int = 1000
    seed: int = 0
    folder: Path | None = None


def main(arguments: Sequence[str]) -> int:
    """Measure what the command line asks for; return the exit status."""
    try:
        _measure(parse(Bank, arguments))
    except AsdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def made_up_frames(
    n: int, dims: int, seed: int, draw: int, into: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Vectors (n, dims), in a new array or `into` one; the seed fixes the states, the draw which vectors they give."""
    states = np.random.default_rng(seed)
    centres = states.normal(size=(STATES, dims)).astype(np.float32)
    directions = (states.normal(size=(DIRECTIONS, dims)) / np.sqrt(DIRECTIONS)).astype(np.float32)
    often = states.dirichlet(np.full(STATES, 0.5))
    rng = np.random.default_rng([seed, draw])
    vectors = np.empty((n, dims), dtype=np.float32) if into is None else into
    for start in range(0, n, BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        state = rng.choice(STATES, size=len(block), p=often)
        block[:] = NOISE * rng.standard_normal(block.shape, dtype=np.float32)
        block += centres[state]
        block += rng.standard_normal((len(block), DIRECTIONS), dtype=np.float32) @ directions
    return vectors


def exact_rows(vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """Rows (queries, k) of the nearest vectors by Euclidean distance in float64, by looking at all of them."""
    points = queries.astype(np.float64)
    best = np.full((len(points), k), np.inf)
    rows = np.zeros((len(points), k), dtype=np.int64)
    for start in range(0, len(vectors), NEAR_ROWS):
        block = vectors[start : start + NEAR_ROWS].astype(np.float64)
        squared = np.square(block).sum(1) - 2 * points @ block.T  # and |query|², the same for all
        near = np.flatnonzero((squared < best[:, -1:]).any(0))  # to any of the queries; few, after a while
        best = np.concatenate([best, squared[:, near]], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(near + start, (len(points), len(near)))], axis=1)
        order = np.argsort(best, axis=1, kind="stable")[:, :k]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    return rows


def _measure(bank: Bank) -> None:
    if not bank.folder:
        _measure_on(bank, made_up_frames(bank.n, bank.dims, bank.seed, draw=0))
        return
    with tempfile.NamedTemporaryFile(dir=bank.folder, prefix="bank-") as file:
        mapped = np.memmap(file.name, dtype=np.float32, mode="w+", shape=(bank.n, bank.dims))
        _measure_on(bank, made_up_frames(bank.n, bank.dims, bank.seed, draw=0, into=mapped))


def _measure_on(config: Bank, vectors: npt.NDArray[np.float32]) -> None:
    k, queries = config.k, made_up_frames(config.queries, config.dims, config.seed, draw=1)
    print(f"{config.n:,} vectors of {config.dims} dimensions: {vectors.nbytes / 1e9:.2f} GB; {_memory()}", flush=True)
    start, start_cpu = time.perf_counter(), time.process_time()
    bank = NeighbourBank(vectors, metric=config.metric, index=config.index, device=config.device)
    built, built_cpu = time.perf_counter(), time.process_time()
    print(f"built in {built - start:.1f} s ({built_cpu - start_cpu:.0f} core-seconds); {_memory()}", flush=True)
    found = bank.search(queries, k)
    took, took_cpu = time.perf_counter() - built, time.process_time() - built_cpu
    each = 1000 * took_cpu / len(queries)
    print(f"searched {len(queries):,} queries, k={k}, in {took:.2f} s ({each:.2f} core-milliseconds each); {_memory()}")
    if bank.index == "flat":
        print("recall 1: the bank is exact")
        return
    del bank
    some = queries[: config.exact_queries]
    if config.metric != "euclid":
        print("recall is measured with metric=euclid only")
        return
    start = time.perf_counter()
    truth = exact_rows(vectors, some, k)
    print(f"exact neighbours of {len(some):,} queries in {time.perf_counter() - start:.1f} s, for comparison")
    hits = (truth[:, :, None] == found.rows[: len(some), None]).any(2)
    first = float((truth[:, 0] == found.rows[: len(some), 0]).mean())
    print(f"recall@1 {first:.4f}, recall@{k} {hits.mean():.4f}")


def _memory() -> str:
    """What the process has taken at most, and what of it now is no mapped file."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    own = [1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")]
    return f"peak memory {peak / 1e9:.2f} GB" + "".join(f", {size / 1e9:.2f} GB now without files" for size in own)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
