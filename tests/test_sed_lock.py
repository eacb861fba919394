"""The second environment is the first one but for what the libraries of the extra `sed` ask for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
ENTRY = re.compile(r"^(?=[A-Za-z0-9_.-]+==)", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    """Versions of a lock file by package, with their markers."""
    pairs = re.findall(r"^([A-Za-z0-9_.-]+)==(.*?) *\\$", (ROOT / name).read_text(), re.MULTILINE)
    return {package.lower().replace("_", "-"): version for package, version in pairs}


def test_it_satisfies_the_package_and_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = locked("requirements-sed.lock")
    for text in [
        *project["dependencies"],
        *(x for name in ("dev", "sed") for x in project["optional-dependencies"][name]),
    ]:
        requirement = Requirement(text)
        version = versions[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version.split()[0]), requirement


def test_only_the_pins_of_the_extra_differ_from_the_default_environment() -> None:
    usual, sed = locked("requirements.lock"), locked("requirements-sed.lock")
    assert {name for name in usual.keys() & sed.keys() if sed[name] != usual[name]} == {"pandas", "setuptools"}
    assert not {"sed-eval", "sed-scores-eval", "dcase-util", "torchmetrics"} & usual.keys()


def test_every_package_has_a_hash() -> None:
    entries = ENTRY.split((ROOT / "requirements-sed.lock").read_text())
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)
