"""Libraries that only pretrained encoders need: an optional part of the installation, imported when asked for."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from asd.types import AsdError


def optional(package: str, purpose: str) -> ModuleType:
    """The package.

    Args:
        package: to import.
        purpose: the setting that needs it.

    Raises:
        AsdError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise AsdError(
            f"{purpose} needs the package {package}, which is not installed ({error}); install the extra: "
            f".venv/bin/pip install -e '.[pretrained]'"
        ) from error
