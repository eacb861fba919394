"""Write the file map of ARCHITECTURE.md: every module and the first line of its docstring.

python tools/file_map.py            # rewrites the section "Files"; a test fails where it lags behind
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
_BEGIN, _END = "## Files\n", "\n## "


def file_map(package: Path = ROOT / "asd") -> str:
    """The rows of the map: a folder is named before its modules."""
    paths = sorted(
        package.rglob("*.py"), key=lambda path: (path.parent, path.name != "__init__.py", path.name)
    )
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


if __name__ == "__main__":
    PAGE.write_text(with_map(PAGE.read_text()))
