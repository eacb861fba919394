"""Make synthetic machines of full size: as many clips as the challenge gives, to measure and to play with.

    python tools/make_machine.py out=DIR machine=fan [machine=fan,valve] [seed=0] [duration_s=10]
        [train_source=990] [train_target=10] [test_per_cell=50] [sample_rate_hz=16000] [channels=1]
        [snr_db=0 [supplemental=100]]

The defaults make 1,000 training clips and 200 test clips of 10 s, about 390 MB and half a minute per machine.
With snr_db= it stands in a noisy hall, so far above the noise; supplemental= clips of either alone lie beside.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from asd.options import Names, Settings
from asd.settings.parsing import parse
from asd.synthetic import make_machines
from asd.types import AsdError


class Machines(Settings):
    """What is made: arguments of `make_machines`, with the challenge's counts."""

    out: Path | None = None
    machine: Names = Field(["fan"])
    seed: int = 0
    duration_s: float = 10.0
    train_source: int = 990
    train_target: int = 10
    test_per_cell: int = 50
    sample_rate_hz: int = 16000
    channels: int = 1
    snr_db: float | None = None
    supplemental: int = 0


def main(arguments: Sequence[str]) -> int:
    """Make the machines that the command line asks for; return the exit status."""
    if {"-h", "--help"} & {*arguments}:
        print(__doc__)
        return 0
    try:
        config = parse(Machines, arguments)
        if config.out is None:
            raise AsdError("say where the machines go: python tools/make_machine.py out=DIR machine=fan")
        for folder in make_machines(config.out, config.machine, **config.model_dump(exclude={"out", "machine"})):
            print(folder)
    except AsdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
