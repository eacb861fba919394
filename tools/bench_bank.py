"""Time, memory and recall of the neighbour bank on made-up vectors of any number.

    python tools/bench_bank.py [n=1000000] [dims=128] [queries=1000] [k=10] [index=auto] [metric=euclid]
        [device=cpu] [exact_queries=1000] [seed=0]

Vectors are as frames of machines are: 2,000 states of unequal frequency, within each of which they vary
along 16 shared directions, with a little noise. Queries are fresh draws. Recall compares with exact
neighbours of the first `exact_queries` queries, found by a flat bank after all else was measured.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from asd.scoring.neighbours import NeighbourBank
from asd.types import AsdError

USUAL: dict[str, int | str] = {
    "n": 1_000_000,
    "dims": 128,
    "queries": 1000,
    "k": 10,
    "index": "auto",
    "metric": "euclid",
    "device": "cpu",
    "exact_queries": 1000,
    "seed": 0,
}
STATES, DIRECTIONS, NOISE = 2000, 16, 0.3
BLOCK_ROWS = 200_000


def main(arguments: Sequence[str]) -> int:
    """Measure what the command line asks for; return the exit status."""
    try:
        _measure(_parse(arguments))
    except AsdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def made_up_frames(n: int, dims: int, seed: int, draw: int) -> npt.NDArray[np.float32]:
    """Vectors (n, dims); the seed fixes the states, the draw which vectors come out of them."""
    states = np.random.default_rng(seed)
    centres = states.normal(size=(STATES, dims)).astype(np.float32)
    directions = (states.normal(size=(DIRECTIONS, dims)) / np.sqrt(DIRECTIONS)).astype(np.float32)
    often = states.dirichlet(np.full(STATES, 0.5))
    rng = np.random.default_rng([seed, draw])
    vectors = np.empty((n, dims), dtype=np.float32)
    for start in range(0, n, BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        state = rng.choice(STATES, size=len(block), p=often)
        block[:] = NOISE * rng.standard_normal(block.shape, dtype=np.float32)
        block += centres[state]
        block += rng.standard_normal((len(block), DIRECTIONS), dtype=np.float32) @ directions
    return vectors


def _measure(words: dict[str, int | str]) -> None:
    n, dims, k, seed = (int(words[key]) for key in ("n", "dims", "k", "seed"))
    vectors = made_up_frames(n, dims, seed, draw=0)
    queries = made_up_frames(int(words["queries"]), dims, seed, draw=1)
    print(f"{n:,} vectors of {dims} dimensions: {vectors.nbytes / 1e9:.2f} GB; peak memory {_peak_gb():.2f} GB")
    metric, index, device = str(words["metric"]), str(words["index"]), str(words["device"])
    start = time.perf_counter()
    bank = NeighbourBank(vectors, metric=metric, index=index, device=device)  # type: ignore[arg-type]
    built = time.perf_counter()
    found = bank.search(queries, k)
    searched = time.perf_counter()
    print(f"built in {built - start:.1f} s; peak memory {_peak_gb():.2f} GB, vectors included")
    rate = len(queries) / (searched - built)
    print(f"searched {len(queries):,} queries, k={k}, in {searched - built:.2f} s ({rate:,.0f} per second)")
    if bank.index == "flat":
        print("recall 1: the bank is exact")
        return
    del bank
    some = queries[: int(words["exact_queries"])]
    start = time.perf_counter()
    flat = NeighbourBank(vectors, metric=metric, index="flat")  # type: ignore[arg-type]
    truth = flat.search(some, k).rows
    print(f"exact neighbours of {len(some):,} queries in {time.perf_counter() - start:.1f} s, for comparison")
    hits = (truth[:, :, None] == found.rows[: len(some), None]).any(2)
    first = float((truth[:, 0] == found.rows[: len(some), 0]).mean())
    print(f"recall@1 {first:.4f}, recall@{k} {hits.mean():.4f}; peak memory {_peak_gb():.2f} GB")


def _peak_gb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def _parse(arguments: Sequence[str]) -> dict[str, int | str]:
    words = dict(USUAL)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not (equals and value and key in USUAL):
            raise AsdError(f"{argument!r} is not of the form key=value; the keys are {', '.join(USUAL)}")
        if isinstance(USUAL[key], str):
            words[key] = value
        elif value.isdecimal():
            words[key] = int(value)
        else:
            raise AsdError(f"{argument} is not a whole number; the usual value is {USUAL[key]}")
    return words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
