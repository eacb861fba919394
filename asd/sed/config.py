"""Words of the stages of sound event detection: `python -m asd sed <stage> key=value ...`."""

from __future__ import annotations

from asd.knobs import Section

STAGES: dict[str, type[Section]] = {}

MEANINGS: dict[str, str] = {}
