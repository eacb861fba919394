"""docs/reliability.md from the tables of planted faults: fault, what happens, test.

python tools/reliability.py          writes the page; tests/test_reliability.py fails where it lags behind
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults import data, own, packages, places, recordings, tables, words  # noqa: E402
from tests.faults.fault import Defect, Done, Expected, Fault, Refused, Same, Warned  # noqa: E402

PAGE = ROOT / "docs/reliability.md"
HEAD = """# What can be wrong, and what happens then

{n_cases} cases of {n_faults} faults are planted one at a time and met by the real command.
`tests/test_planted_faults.py` runs them, `tests/faults/` holds the tables. Every stage ends in the right result or in
one sentence. Whatever it refuses, every file stays as it was: no finished result is lost and no half-written file is
left.

- *refused*: exit code 2 and one sentence that names the value or the file and the way out
- *warned*: the stage is done, and a warning names what is wrong
- *defect*: `validate` or `bundle` names it on its list, exit code 1
- *same*: done, and the numbers are those without the fault
- *done*: done; the fault may move the result, as a shorter recording does

Beside these tables: `tests/test_fuzz.py` tries 100,000 names, tables, YAML files, WAV headers and zips.
`tests/test_planted_processes.py` kills commands at any moment and runs two of one run at once;
`tests/test_bad_places.py` fills a small disk. `docs/mutation.md` tells which changed lines of the code the tests do not
notice. This page is written by `python tools/reliability.py`.
"""
KINDS = {
    "Recordings": recordings, "Folders, names and attribute tables": data, "Recordings of your own": own,
    "Runs": tables, "Packages": packages, "Options": words, "Places": places,
}  # fmt: skip
NAMES: dict[type[Expected], str] = {
    Refused: "refused", Warned: "warned", Defect: "defect", Same: "same", Done: "done"
}  # fmt: skip


def outcome(fault: Fault) -> str:
    """What each stage does, stages of one outcome together."""
    by_name = sorted(fault.expected, key=lambda stage: NAMES[type(fault.expected[stage])])
    groups = groupby(by_name, key=lambda stage: NAMES[type(fault.expected[stage])])
    return "; ".join(f"{name} by {', '.join(stages)}" for name, stages in groups)


def page() -> str:
    """The whole page."""
    faults = [fault for kind in KINDS.values() for fault in kind.FAULTS]
    text = HEAD.format(n_faults=len(faults), n_cases=sum(len(fault.expected) for fault in faults))
    for title, kind in KINDS.items():
        text += f"\n## {title}\n\n| fault | what happens |\n|---|---|\n"
        for fault in kind.FAULTS:
            name = fault.name if len(fault.name) < 60 else f"{fault.name[:57]}..."
            text += f"| {name.replace('|', '/')} | {outcome(fault)} |\n"
        text += f"\nTable: `{Path(str(kind.__file__)).relative_to(ROOT)}`.\n"
    return text


def main() -> int:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
