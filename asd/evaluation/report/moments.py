"""When a clip was recorded, as its name tells."""

from __future__ import annotations

import re
from datetime import datetime

_DATE = re.compile(
    r"(?<!\d)(?P<year>20\d\d)(?P<gap>[-_.]?)(?P<month>\d\d)(?P=gap)(?P<day>\d\d)"
    r"(?:[T_ -]?(?P<hour>\d\d)[-_:.h]?(?P<minute>\d\d)(?:[-_:.m]?(?P<second>\d\d))?)?(?!\d)"
)


def recorded_at(name: str) -> datetime | None:
    """The date in a name, with the time of day where it follows; None where there is none.

    Understands 20240131, 2024-01-31, 2024_01_31, each alone or followed by a time such as T1405, _14-05-59.
    """
    for match in _DATE.finditer(name):
        parts = match.groupdict()
        units = ("year", "month", "day", "hour", "minute", "second")
        try:
            return datetime(*(int(parts[unit] or 0) for unit in units))  # type: ignore[arg-type]
        except ValueError:  # such as the 45th of a month: these digits are no date
            continue
    return None
