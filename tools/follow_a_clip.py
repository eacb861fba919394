"""Which files of the package does a command pass through, and how often does it read a recording?

python tools/follow_a_clip.py train machine=fan data=DIR name=RUN

Runs the command in this process and prints each file under asd/ with the number of its functions that were called;
then how many files there are, and how often a recording was read at most. ARCHITECTURE.md has the numbers.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_OPTIMIZED = 0x2  # flag of the code of a function; that of a module or a class body has it not


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    sys.path.insert(0, str(ROOT))
    from asd.__main__ import main as command

    called: dict[str, set[str]] = {}
    reads: Counter[str] = Counter()
    whole = Path.read_bytes

    def watch(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_flags & _OPTIMIZED and code.co_filename.startswith(f"{ROOT}/asd/"):
            called.setdefault(code.co_filename.removeprefix(f"{ROOT}/"), set()).add(code.co_qualname)

    def read_bytes(path: Path) -> bytes:
        reads[str(path)] += path.suffix.lower() == ".wav"
        return whole(path)

    Path.read_bytes = read_bytes  # type: ignore[assignment, method-assign]
    threading.setprofile(watch)
    sys.setprofile(watch)
    code = command(arguments)
    sys.setprofile(None)
    for name, functions in sorted(called.items()):
        print(f"{name:48} {len(functions):3}")
    print(f"{len(called)} files; a recording is read {max(reads.values(), default=0)} times at most")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
