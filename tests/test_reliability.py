"""docs/reliability.md is what the tables of planted faults say."""

from __future__ import annotations

from tools.reliability import KINDS, PAGE, page


def test_the_page_does_not_lag_behind_the_tables() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python tools/reliability.py"


def test_every_fault_has_a_name_of_its_own() -> None:
    names = [fault.name for kind in KINDS.values() for fault in kind.FAULTS]
    assert len({*names}) == len(names)
    assert sum(len(fault.expected) for kind in KINDS.values() for fault in kind.FAULTS) >= 200
