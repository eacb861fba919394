"""The documents describe the code as it is: names that they give exist, and what exists is named."""

from __future__ import annotations

import ast
import doctest
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from asd.__main__ import GROUPS, STAGES
from asd.detectors import REGISTRY
from asd.settings import config, parsing
from tests.machines import tone_machine
from tools.file_map import OPTIONS, options_page, with_map

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "asd"
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *(p for d in ("docs", "configs", "submissions") for p in sorted(ROOT.glob(f"{d}/*.md"))),
]
METHODS = [ROOT / f"configs/{name}.yaml" for name in ("benchmark", "reproduce", "reproduce_beats")]  # of words
PUBLISHED = ROOT / "configs/published.yaml"  # scores, by year
SPACE = ROOT / "configs/sweep.yaml"  # values to try of each option
_STAGE = "|".join(STAGES)
CONFIGS = sorted(set(ROOT.glob("configs/*.yaml")) - {*METHODS, PUBLISHED, SPACE})


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_file_map_is_the_one_that_the_docstrings_give() -> None:
    lines = ARCHITECTURE.split("## Files\n")[1]
    assert all(path.name in lines for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    assert with_map(ARCHITECTURE) == ARCHITECTURE, "run python tools/file_map.py"


def test_the_page_of_options_is_the_one_that_the_models_give() -> None:
    assert OPTIONS.read_text() == options_page(), "run python tools/file_map.py"


def test_every_make_target_in_a_document_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    for path in DOCUMENTS:
        text = path.read_text()
        # In code only, where a sentence cannot make anything: an indented line, or between backticks.
        code = re.findall(r"^    .*$", text, re.MULTILINE) + re.findall(r"`[^`\n]+`", text)
        named = {target for line in code for target in re.findall(r"\bmake ([a-z-]+)", line)}
        assert named <= targets, path
    assert {"demo", "test"} <= set(re.findall(r"^    make ([a-z-]+)", README, re.MULTILINE))


def test_every_stage_is_a_target_a_word_of_the_configuration_and_in_the_readme() -> None:
    assert STAGES.keys() == config.STAGES.keys()
    for stage in STAGES:
        assert re.search(rf"^{stage}: setup", MAKEFILE, re.MULTILINE), stage
        assert re.search(rf"`{stage}`|make {stage}\b", README), stage


def test_every_stage_of_a_group_has_words_a_meaning_and_a_target() -> None:
    for group, (package, _) in GROUPS.items():
        settings = import_module(f"{package}.config")
        assert settings.STAGES.keys() == settings.MEANINGS.keys()
        for stage in settings.STAGES:
            assert f"$(ASD) {group} {stage} $(GIVEN)" in MAKEFILE, stage


def commands() -> list[str]:
    """Commands of the documents with key=value words, and what a backslash continues."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text().replace("\\\n", " ")
        found += re.findall(rf"(?:make|python -m asd) +(?:{_STAGE}) [^\n`#]*=[^\n`#]*", text)
    return found


@pytest.mark.parametrize("command", commands())
def test_the_words_of_every_command_are_accepted(command: str) -> None:
    stage, words = re.findall(rf"({_STAGE}) (.*)", command)[0]
    words = re.sub(r'set="([^"]*)"', r"\1", words)  # a word of the Makefile: words for the stage
    words = words.replace("$mode", "true").replace(" ...", "")
    given = [word for word in shlex.split(words) if word not in {"config=FILE", "--help"}]
    parsing.parse(config.STAGES[stage], given)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_is_accepted_and_holds_only_differences(path: Path) -> None:
    settings = parsing.parse(config.Run, [f"config={path}"])
    assert settings.name == path.stem
    assert settings.detector in REGISTRY
    usual = config.Run()
    for key, value in parsing.read_pairs(path):
        ours, theirs = settings, usual
        for part in key.split("."):
            ours, theirs = getattr(ours, part), getattr(theirs, part)
        assert ours == value
        assert ours != theirs, f"{key} is at its default"


@pytest.mark.parametrize("path", METHODS, ids=relative)
def test_every_method_is_accepted(path: Path) -> None:
    for label, words in yaml.safe_load(path.read_text()).items():
        assert parsing.parse(config.Run, words.split()).detector in REGISTRY, label


def test_architecture_names_every_package() -> None:
    inside = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    named = set(re.findall(r"^\| `(\w+)` \|", section(ARCHITECTURE, "Packages"), re.MULTILINE))
    assert sorted((inside - {"__init__"}) ^ named) == []


def importers(name: str) -> set[str]:
    package, _, leaf = name.rpartition(".")
    from_package = rf"|from {re.escape(package)} import .*\b{leaf}\b" if package else ""
    pattern = re.compile(rf"^\s*(?:import {name}\b|from {name}\b{from_package})", re.MULTILINE)
    return {relative(path) for path in PACKAGE.rglob("*.py") if pattern.search(path.read_text())}


def test_the_rules_on_imports_hold_where_the_linter_cannot_see_them() -> None:
    readers = {path.split("/")[1].removesuffix(".py") for path in importers("asd.settings.config")}
    assert readers <= {"__main__", "pipeline", "stages", "settings", "studies", "library", "deploy"}
    assert importers("soundfile") == {"asd/data/codecs.py"}
    assert importers("torchaudio") == {"asd/features/logmel.py"}
    assert len(importers("faiss")) <= 1
    assert all(path.startswith("asd/scoring/") for path in importers("faiss"))


def test_every_detector_and_every_study_is_declared_independent() -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    detectors, studies = (set(c["modules"]) for c in contracts if c["type"] == "independence")
    assert detectors == {place.split(":")[0] for place in REGISTRY.values()}
    assert studies == {f"asd.studies.{name}" for name in import_module("asd.studies.config").STAGES}


def test_links_and_paths_in_documents_lead_somewhere() -> None:
    for path in DOCUMENTS:
        text = path.read_text()
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (path.parent / link).exists(), f"{relative(path)}: {link}"
        for name in re.findall(r"`((?:asd|tests|tools|docs|configs)/[\w./]+)`", text):
            assert (ROOT / name).exists(), f"{relative(path)}: {name}"


def test_the_changelog_has_the_agreed_form() -> None:
    assert CHANGELOG.startswith("# Changelog\n")
    releases = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert releases[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", release) for release in releases[1:])
    versions = [tuple(map(int, re.findall(r"\d+", release)[:3])) for release in releases[1:]]
    assert all(newer > older for newer, older in pairwise(versions))
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)) <= kinds


def test_the_lock_file_satisfies_the_requirements() -> None:
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    every = [*project["dependencies"], *extras["dev"], *extras["pretrained"], *extras["docs"]]
    wanted = [Requirement(text) for text in every]
    lock = (ROOT / "requirements.lock").read_text()
    locked: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", lock, re.MULTILINE):
        locked.setdefault(name.lower().replace("_", "-"), set()).add(version)
    for requirement in wanted:
        versions = locked.get(requirement.name.lower().replace("_", "-"))
        assert versions, f"{requirement.name} is not locked"
        assert all(requirement.specifier.contains(version) for version in versions), requirement
    pinned = {r.name: str(r.specifier) for r in wanted if str(r.specifier).startswith("==")}
    assert {"torch", "torchaudio", "faiss-gpu", "faiss-cpu"} <= pinned.keys()
    assert pinned["torch"] == pinned["torchaudio"]


def test_every_locked_package_has_a_hash() -> None:
    entries = re.split(r"^(?=[A-Za-z0-9_.-]+==)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)


WITH_EXAMPLES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text())
# The modules of the API reference: there, public functions of two or more arguments say what they take.
REFERENCE = re.findall(
    r"^::: (\S+)", "\n".join(page.read_text() for page in (ROOT / "docs/api").glob("*.md")), re.MULTILINE
)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=relative)
def test_examples_in_docstrings_are_true(path: Path) -> None:
    module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted
    assert not result.failed


def says(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> bool:
    return "Args:" in (ast.get_docstring(node) or "")


def names_its_error(node: ast.FunctionDef) -> bool:
    raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    return not raises or "Error" in (ast.get_docstring(node) or "")


def silent_functions(path: Path) -> list[str]:
    """Public functions of two or more arguments that do not say what they take, or which error they raise.

    A base class may say it, and the module what the arguments are.
    """
    module = ast.parse(path.read_text())
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    found, places = [], [(module.body, set[str]())]
    while places:
        body, known = places.pop()
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                bases = [classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
                methods = [m for base in bases for m in base.body if isinstance(m, ast.FunctionDef)]
                places.append((node.body, {method.name for method in methods if says(method)}))
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in known:
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                n = sum(argument.arg not in {"self", "cls"} for argument in given)
                if n >= 2 and not ((says(node) or says(module)) and names_its_error(node)):
                    found.append(f"{relative(path)}: {node.name}")
    return found


def test_public_functions_say_what_they_take_and_raise() -> None:
    places = [ROOT / module.replace(".", "/") for module in REFERENCE]
    modules = [
        path for place in places for path in (place.glob("*.py") if place.is_dir() else [place.with_suffix(".py")])
    ]
    assert len(modules) > 50
    assert not [name for path in modules for name in silent_functions(path)]


def test_the_site_has_every_page_and_names_modules_that_exist() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    for page in sorted((ROOT / "docs").rglob("*.md")):
        assert page.relative_to(ROOT / "docs").as_posix() in text, f"{relative(page)} is not in mkdocs.yml"
        for name in re.findall(r"^::: asd[.]?([\w.]*)", page.read_text(), re.MULTILINE):
            place = PACKAGE / name.replace(".", "/")
            assert place.is_dir() or place.with_suffix(".py").exists(), f"{relative(page)}: asd.{name}"


def test_documents_fit_a_terminal() -> None:
    for path in DOCUMENTS:
        long = [line for line in path.read_text().splitlines() if len(line) > 130 and line[:1] != "|"]
        assert not long, f"{relative(path)}: {long[0]}"


def test_programs_read_and_score_and_only_people_hear() -> None:
    talking = re.compile(r"(?<!listeners who )\b(?:deaf|hears?|heard)\b(?!-)")
    for path in [*DOCUMENTS, *sorted(PACKAGE.rglob("*.py")), *sorted(ROOT.glob("configs/*.yaml"))]:
        lines = [line for line in path.read_text().splitlines() if talking.search(line) and "`hears_" not in line]
        assert not lines, f"{relative(path)}: {lines[0]}"


def test_files_stay_under_300_lines() -> None:
    lengths = {relative(path): len(path.read_text().splitlines()) for path in (ROOT / "asd").rglob("*.py")}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


@pytest.mark.slow
def test_the_benchmark_prints_every_stage(tmp_path: Path) -> None:
    tone_machine(tmp_path, "fan")
    command = [sys.executable, "tools/bench.py", f"data={tmp_path}", "epochs=1", "device=cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = dict(re.findall(r"^\| (.*?) \| [\d.]+ s \| ([\d,]+) MiB \| ", done.stdout, re.MULTILINE))
    stages = ["check of the recordings", "features", "training, one epoch", "training, the rest"]
    stages += ["arithmetic floor of an epoch", "scoring", "`asd train`, all of it"]
    assert [stage for stage in rows if not stage.startswith("evaluation")] == stages
