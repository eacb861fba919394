"""Make synthetic machines of full size: as many clips as the challenge gives, to measure and to play with.

    python tools/make_machine.py out=DIR machine=fan [machine=fan,valve] [seed=0] [duration_s=10]
        [train_source=990] [train_target=10] [test_per_cell=50] [sample_rate_hz=16000] [channels=1]
        [snr_db=0 [supplemental=100]]

The defaults make 1,000 training clips and 200 test clips of 10 s, about 390 MB and half a minute per machine.
With snr_db= it stands in a noisy hall, so far above the noise; supplemental= clips of either alone lie beside.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from asd.synthetic import make_machines
from asd.types import AsdError

Number = TypeVar("Number", int, float)

DURATION_S = 10.0
WHOLE_NUMBERS = {
    "train_source": 990,
    "train_target": 10,
    "test_per_cell": 50,
    "sample_rate_hz": 16000,
    "seed": 0,
    "channels": 1,
    "supplemental": 0,
}


def main(arguments: Sequence[str]) -> int:
    """Make the machines that the command line asks for; return the exit status."""
    if {"-h", "--help"} & {*arguments}:
        print(__doc__)
        return 0
    try:
        words = _parse(arguments)
        if "out" not in words:
            raise AsdError("say where the machines go: python tools/make_machine.py out=DIR machine=fan")
        machines = words.get("machine", "fan").split(",")
        duration_s = _number(words, "duration_s", DURATION_S, float)
        numbers = {key: _number(words, key, usual, int) for key, usual in WHOLE_NUMBERS.items()}
        snr_db = _number(words, "snr_db", 0.0, float) if "snr_db" in words else None
        out = Path(words["out"])
        for folder in make_machines(out, machines, duration_s=duration_s, snr_db=snr_db, **numbers):
            print(folder)
    except AsdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(arguments: Sequence[str]) -> dict[str, str]:
    known = ["out", "machine", "duration_s", "snr_db", *WHOLE_NUMBERS]
    words = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not (equals and value):
            raise AsdError(f"{argument!r} is not of the form key=value; the keys are {', '.join(known)}")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise AsdError(f"unknown key {key!r}: did you mean {near!r}? The keys are {', '.join(known)}")
        words[key] = value
    return words


def _number(words: dict[str, str], key: str, usual: Number, kind: Callable[[str], Number]) -> Number:
    if key not in words:
        return usual
    try:
        return kind(words[key])
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise AsdError(f"{key}={words[key]} is not {wanted}; the usual value is {usual}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
