"""Write what documents say of the code: the file map of ARCHITECTURE.md, and every option in docs/options.md.

python tools/file_map.py            # rewrites both; a test fails where one of them lags behind
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
OPTIONS = ROOT / "docs/options.md"
_BEGIN, _END = "## Files\n", "\n## "


def file_map(package: Path = ROOT / "asd") -> str:
    """The rows of the map: a folder is named before its modules."""
    paths = sorted(package.rglob("*.py"), key=lambda path: (path.parent, path.name != "__init__.py", path.name))
    rows = [f"| `{_name(path)}` | {_summary(path)} |" for path in paths]
    return "\n".join(["| file | what it is for |", "|---|---|", *rows]) + "\n"


def with_map(text: str) -> str:
    """The page with a fresh map in its section "Files"."""
    before, after = text.split(_BEGIN, 1)
    rest = after.split(_END, 1)
    return f"{before}{_BEGIN}\n{file_map()}" + (_END + rest[1] if len(rest) > 1 else "")


def _name(path: Path) -> str:
    """Path from the root; a package stands for its `__init__`."""
    name = path.relative_to(ROOT).as_posix()
    return name.removesuffix("__init__.py")


def _summary(path: Path) -> str:
    """First sentence or line of a module's docstring, without the full stop."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")


def options_page() -> str:
    """Every option of every stage with its default and meaning, in the groups of `--help`."""
    sys.path.insert(0, str(ROOT))
    from asd.__main__ import GROUPS, STAGES
    from asd.settings import config

    lines = [
        "# All options",
        "",
        "Every option as `key=default`, generated from the models that declare it; `--help` of a stage says the same.",
        "Lists are written with commas, and an option without a default may be left out.",
    ]
    for stage, meaning in STAGES.items():
        lines += _stage(stage, meaning, config.STAGES[stage])
    for group, (package, _) in GROUPS.items():
        models = import_module(f"{package}.config")
        for stage, meaning in models.MEANINGS.items():
            lines += _stage(f"{group} {stage}", meaning, models.STAGES[stage])
    return "\n".join(lines) + "\n"


def _stage(command: str, meaning: str, model: type) -> Iterator[str]:
    """The section of a stage."""
    from asd.settings.help import describe

    yield from ("", f"## {command}", "", f"{meaning[0].upper()}{meaning[1:]}.")
    for block in describe(command, meaning, model).split("\n\n")[1:]:
        title, *rows = block.split("\n")
        if title.startswith("  "):
            title, rows = "", [title, *rows]
        options = [row.strip().partition(" ") for row in rows if row.startswith("  ")]
        if options:
            yield from ("", f"### {title.removesuffix('.')}", "") if title else ("",)
            yield from ("| option | meaning |", "|---|---|")
            yield from (f"| `{key}` | {about.strip()} |" for key, _, about in options)


if __name__ == "__main__":
    PAGE.write_text(with_map(PAGE.read_text()))
    OPTIONS.write_text(options_page())
