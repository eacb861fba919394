"""How much memory there is left, and which errors say that it ran out.

Source: proc_pid_status(5), proc_meminfo(5); Linux kernel documentation, Control Group v2 (memory.max,
memory.current, memory.stat, memory.swap.max).
"""

from __future__ import annotations

import re
import resource
from pathlib import Path

from asd.types import AsdError

_CGROUPS = Path("/sys/fs/cgroup")
_SAID = re.compile(r"allocate memory|out of memory|bad_alloc|failed to map segment", re.IGNORECASE)


def free_bytes() -> int | None:
    """Bytes that this process may still take: of the computer, its control groups and `ulimit -v`; None: unknown."""
    found = [_kib("/proc/meminfo", "MemAvailable", "SwapFree"), *map(_left_in, _groups())]
    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], _kib("/proc/self/status", "VmSize")
    found += [limit - used] if limit != resource.RLIM_INFINITY and used is not None else []
    return min((max(n, 0) for n in found if n is not None), default=None)


def require_free(n_bytes: int, what: str, way: str) -> None:
    """`AsdError` where that is more than there is left, as Linux ends a process that takes it; `way` is the way out."""
    if (free := free_bytes()) is not None and n_bytes > free:
        raise AsdError(f"{what} takes {n_bytes / 1e9:.3g} GB of memory, where {free / 1e9:.3g} GB are free; {way}")


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, as torch, CUDA and the loader of libraries do in their words."""
    is_told = isinstance(error, (RuntimeError, ImportError, OSError)) and _SAID.search(str(error)) is not None
    return isinstance(error, MemoryError) or is_told


def _kib(file: str, *names: str) -> int | None:
    """Bytes of lines such as "MemAvailable: 123 kB" together; None where the first of the names is not there."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", _text(Path(file)), re.MULTILINE))
    return sum(int(found.get(name, 0)) for name in names) * 1024 if names[0] in found else None


def _groups() -> list[Path]:
    """The folders of the control groups (v2) of this process, its own first."""
    own = re.search(r"^0::/(.*)$", _text(Path("/proc/self/cgroup")), re.MULTILINE)
    place = _CGROUPS / (own[1] if own else "")
    return [each for each in (place, *place.parents) if each.is_relative_to(_CGROUPS)]


def _left_in(group: Path) -> int | None:
    """Bytes that a control group may still take: of memory, with the files in it that Linux gives back, and of swap."""
    if (left := _unused(group, "memory")) is None:
        return None
    files = re.findall(r"^(?:in)?active_file (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
    swap, allowed = _kib("/proc/meminfo", "SwapFree") or 0, _unused(group, "memory.swap")
    return left + sum(map(int, files)) + (swap if allowed is None else min(swap, allowed))


def _unused(group: Path, kind: str) -> int | None:
    """Bytes of memory or swap below the limit of a control group; None where it has none."""
    limit, used = (_text(group / f"{kind}.{name}").strip() for name in ("max", "current"))
    return int(limit) - int(used) if limit.isdecimal() and used.isdecimal() else None  # "max", or the root


def _text(file: Path) -> str:
    """What a file of the kernel says; "" where there is none."""
    try:
        return file.read_text("utf-8")
    except OSError:
        return ""
