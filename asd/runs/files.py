"""Small files of a run: text and JSON, written whole or not at all, and read back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asd.core.runtime import atomic
from asd.types import AsdError


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with atomic(path) as temporary, temporary.open("w") as file:
        file.write(text)
        file.flush()
        if temporary.is_file():  # devices and pipes cannot be told to
            os.fsync(file.fileno())


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON file, whole or not at all."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; {} where there is no file.

    Raises:
        AsdError: the file is damaged.
    """
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        return content
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise AsdError(f"{path} is damaged ({error}); remove it and run the same command again") from error
