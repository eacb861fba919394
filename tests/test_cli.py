"""What a user types: words, help, `make`, and that the light stages stay light."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from asd import __main__ as command
from asd.options import Settings
from asd.settings import config
from tests.command import refuses, start, succeeds

ROOT = Path(__file__).resolve().parents[1]
LABEL = "Tester_LAB_task2_1"


def python(code: str, *words: object, cwd: Path = ROOT) -> str:
    """Output of a Python process."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert succeeds("--version").out == f"asd {project['version']}\n"


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_names_every_stage(words: tuple[str, ...]) -> None:
    answer = succeeds(*words)
    for stage, meaning in command.STAGES.items():
        assert any(line.split(None, 1) == [stage, meaning] for line in answer.out.splitlines())
    assert answer.err == ""


@pytest.mark.parametrize("stage", command.STAGES)
def test_help_of_a_stage_lists_its_words(stage: str) -> None:
    out = succeeds(stage, "--help").out
    model = config.STAGES[stage]
    own = [name for name in model.model_fields if name not in getattr(model, "hidden", ())]
    for name in own:
        field = model.model_fields[name]
        if not isinstance(field.get_default(), Settings):
            line = next(line for line in out.splitlines() if line.startswith(f"  {field.alias or name}="))
            assert field.description
            assert line.endswith(field.description)
    assert succeeds(stage, "machine=fan", "-h").out == out


def test_every_stage_has_words_a_function_and_a_summary() -> None:
    from asd.stages import summary

    assert command.STAGES.keys() == config.STAGES.keys()
    for name in command.STAGES:
        function = name.replace("-", "_")
        place = import_module(command.PLACES.get(name, "asd.pipeline"))
        assert callable(getattr(place, function))
        assert callable(place.summary if name in command.PLACES else getattr(summary, function))


_WHAT_HELP_IMPORTS = """
import sys
from asd.__main__ import main
for words in ([], ["--help"], ["train", "--help"]):
    assert main(words) == 0
    print(">", *sorted({"torch", "pandas", "pydantic", "numpy", "scipy"} & sys.modules.keys()))
"""


def test_help_imports_nothing_heavy() -> None:
    lines = [line for line in python(_WHAT_HELP_IMPORTS).splitlines() if line.startswith(">")]
    assert lines[:2] == [">", ">"]
    assert "torch" not in lines[2]


_WHAT_STILL_HAPPENS_AT_THE_END = """
import atexit, sys, threading
from asd.__main__ import end_process
sys.modules["torch"] = atexit  # whatever takes long to be taken down
class Slow:
    def __del__(self):
        print("taken down")
slow = Slow()
atexit.register(print, "exit function")
if sys.argv[1:]:
    threading.Timer(0.1, print, ["thread"]).start()
print("result", end=" ")
end_process(3)
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], ["result exit function"]), (["thread"], ["result thread", "exit function", "taken down"])],
)
def test_the_end_writes_everything_and_takes_nothing_down(words: list[str], expected: list[str]) -> None:
    line = [sys.executable, "-c", _WHAT_STILL_HAPPENS_AT_THE_END, *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.splitlines() == expected


def test_installed_as_asd() -> None:
    (script,) = entry_points(group="console_scripts", name="asd")
    assert script.load() is command.main


def test_text_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    """As in a terminal with LANG=en_US, whose encoding is Latin-1: files made there are read elsewhere."""
    place = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    line = [sys.executable, "-m", "asd", "validate", "Prüfstand →"]
    done = subprocess.run(line, capture_output=True, check=False, cwd=tmp_path, env=os.environ | place)
    assert "error: Prüfstand → is neither a folder nor a zip file" in done.stderr.decode()
    line, script = [sys.executable, "-", "validate", "nowhere"], b"from asd.__main__ import main; main()"
    done = subprocess.run(line, input=script, capture_output=True, check=False, cwd=tmp_path, env=os.environ | place)
    assert (done.returncode, b"error: nowhere is neither" in done.stderr) == (2, True)  # it cannot be read twice


@pytest.mark.parametrize(
    "closed", [*(pytest.param(end, marks=pytest.mark.slow) for end in (">&-", "2>&-")), ">&- 2>&-"]
)
def test_nobody_has_to_listen(closed: str, tmp_path: Path) -> None:
    line = f"{sys.executable} -m asd validate nowhere {closed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    line = f"{sys.executable} -m asd train --help {closed}"
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=False, cwd=tmp_path).returncode == 0


# --- make ---------------------------------------------------------------------------------------------


def make(*words: str) -> str:
    """What `make` would run."""
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | {"machine": "pump"}
    done = subprocess.run(
        ["make", "-n", *words], cwd=ROOT, env=surroundings, capture_output=True, text=True, check=True
    )
    return next(" ".join(line.split()) for line in done.stdout.splitlines() if "-m asd" in line)


@pytest.mark.parametrize(
    ("words", "command_line"),
    [
        (
            ("train", "machine=fan", "seeds=0,1", "set=training.epochs=5 autoencoder.n_mels=64", "a.b=c"),
            "train a.b=c machine=fan seeds=0,1 training.epochs=5 autoencoder.n_mels=64",
        ),
        (("train",), "train"),  # a variable of the surroundings is no word
        (("score", "name=RUN", "machine=fan,valve"), "score machine=fan,valve name=RUN"),
        (("evaluate", "name=RUN", "json=x.json"), "evaluate json=x.json name=RUN"),
        (("submit", "name=RUN", f"label={LABEL}", "year=2025"), f"submit label={LABEL} name=RUN year=2025"),
        (("validate", "path=submissions/X"), "validate path=submissions/X"),
        (("demo",), "demo"),
    ],
)
def test_make_is_an_alias(words: tuple[str, ...], command_line: str) -> None:
    assert make(*words) == f".venv/bin/python -m asd {command_line}"


AWKWARD = (
    *(
        "normal=my recordings/pump 3",
        "data=two  spaces/and more",
        "name=it's",
        'name="quoted"',
        "p=$HOME `id` $(shell id)",
    ),
    *(
        "p=$$1 $(name)",
        "p=a,b=c;d|e&f",
        "p=<*?[x]{y}~!>",
        "p=\\\\server\\share",
        "p=(a)",
        "c=#1",
        "name=été",
        "word=x",
        "o=1",
    ),
)


@pytest.mark.parametrize("option", AWKWARD)
def test_make_hands_on_what_was_typed(tmp_path: Path, option: str) -> None:
    """Through the real make and shell, with a Python that prints its arguments in the place of ours."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    python.chmod(0o755)
    (tmp_path / ".venv/ready").touch()
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    words = ["make", "-s", "train", option, "set=training.epochs=5 a.b='x y'", "machine=fan"]
    done = subprocess.run(words, cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=True)
    got = json.loads(done.stdout)
    assert sorted(got) == sorted(["-m", "asd", "train", option, "machine=fan", "training.epochs=5", "a.b=x y"])


_WHAT_LIGHT_STAGES_IMPORT = """
import sys
from asd.__main__ import main
label = sys.argv[1]
for words in (
    ["evaluate", "name=autoencoder"],
    ["submit", "name=autoencoder", f"label={label}"],
    ["validate", f"submissions/{label}"],
):
    assert main(words) in (0, 1), words
    assert "torch" not in sys.modules and "faiss" not in sys.modules, words
"""


def test_evaluating_packaging_and_validating_do_without_torch(run: Path) -> None:
    python(_WHAT_LIGHT_STAGES_IMPORT, LABEL, cwd=Path.cwd())


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    """As `python -m asd train --help | head -1`."""
    process = start("train", "--help")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 141)
    process.stderr.close()


def test_a_working_directory_that_was_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    refuses("train", f"data={tmp_path}", saying='this folder was removed, and perhaps made anew; cd "\\$PWD" enters')
