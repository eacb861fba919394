"""Command line: `python -m asd <stage> key=value ...`, also installed as `asd`.

Only arguments and exit codes live here: 0 done, 1 a defect found by `submit`, `validate`, `bundle` or `data-check` or a
recording that `predict` cannot use, 2 an error the user can act on (one sentence), 3 an anomaly found by `predict
--fail-on-anomaly`, 130 interrupted.
"""

from __future__ import annotations

import atexit
import difflib
import gc
import locale
import logging
import os
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from asd.types import AsdError

STAGES = {
    "data": "fetch and unpack the published data of a year: resumable, checked, in parallel",
    "data-check": "what of a year's data is present, missing or damaged",
    "train": "fit a detector on the normal clips of machines, then score their test clips",
    "enroll": "fit a detector on a handful of normal recordings, and say how sure it can be",
    "score": "score test clips with a trained run, or with weights=FILE",
    "evaluate": "AUC and pAUC per machine and domain of a run, or official results of submissions",
    "leaderboard": "runs in order, and which differences the clips can settle",
    "fuse": "make one run of several: mean of their scores on a common scale",
    "predict": "score any recordings with a trained run: the most suspicious first",
    "explain": "what moved the score of a clip: a picture per clip, and a table",
    "report": "one page to look at and listen to: numbers, charts, suspicious clips with players",
    "submit": "package the scores of a run as a challenge submission, and validate it",
    "bundle": "up to four packaged systems and the technical report in one archive, validated",
    "validate": "name every defect of a submission package",
    "benchmark": "many methods on the same machines, in one table",
    "sweep": "many configurations tried on normal clips with planted faults: the best, and what mattered",
    "listen": "score a stream as it comes: alarms with their recording, drift; webhook, MQTT",
    "serve": "score recordings over HTTP: FastAPI, limits, metrics for Prometheus",
    "export": "a trained model as one ONNX graph: waveform in, score out, for machines without Python",
    "reproduce": "a year in one go: published data, several methods, and a table beside published scores",
    "demo": "all of it once, on small synthetic machines",
}

# Stages that are not in `asd.pipeline`, each with its `summary` beside it.
PLACES = {
    "predict": "asd.stages.predicting",
    "report": "asd.stages.reporting",
    "benchmark": "asd.stages.benchmarking",
    "reproduce": "asd.stages.reproducing",
    "sweep": "asd.stages.sweeping",
    "listen": "asd.deploy.listen",
    "serve": "asd.deploy.serve",
    "export": "asd.deploy.export",
}

# Commands of a group and a stage. A group has its settings in <package>.config, one class and one line per stage.
GROUPS = {
    "sed": ("asd.sed", "sound event detection on the same core"),
    "study": ("asd.studies", "experiments behind the pages of docs/, resumable"),
}

# What these find wrong makes the exit code 1.
CHECKED = {"submit", "validate", "bundle", "data-check", "listen"}

USAGE = """usage: python -m asd <stage> [key=value ...]

stages
{stages}

groups of stages: python -m asd <group> <stage> [key=value ...]
{groups}

python -m asd <stage> --help lists the options of a stage. Example:
  python -m asd train machine=fan data=DIR detector=autoencoder seed=0 name=RUN training.epochs=5"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one stage and returns the exit code; with the arguments of the process, ends it with that code."""
    if argv is None:
        _with_utf8()
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed by >&-, as of a service
                setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        gc.set_threshold(50_000)  # to look through what imports leave, again and again, takes 0.3 s
        end_process(main(sys.argv[1:]))
    arguments = list(argv)
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        groups = {name: meaning for name, (_, meaning) in GROUPS.items()}
        print(USAGE.format(stages=_lines(STAGES), groups=_lines(groups)))
        return 0
    if arguments[0] in {"-V", "--version"}:
        from importlib.metadata import version

        print(f"asd {version('asd')}")
        return 0
    stage, *rest = arguments
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    from asd.core.memory import ran_out
    from asd.places import spelled

    try:
        _check_folder()
        text, code = (_group(stage, rest), 0) if stage in GROUPS else _run(stage, rest)
        print(spelled(text), flush=True)
        return code
    except AsdError as error:
        print(f"error: {spelled(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as by `| head`, which closes the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor may the flush at the end fail
        return 141
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        what = " ".join(spelled(str(error)).split()) or type(error).__name__
        if ran_out(error):
            what = what[:300]  # torch adds its calls
            way = "memory ran out; free some, or give it less at once (shorter recordings, fewer workers=)"
        elif isinstance(error, OSError):  # a place that vanished, or may not be read
            way = "check the place and its permissions, then try again"
        else:
            raise
        print(f"error: {what}; {way}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        way = str(interrupt) or "nothing finished is lost, the same command resumes"
        print(f"interrupted: {spelled(way)}", file=sys.stderr)
        return 130


def _check_folder() -> None:
    """Raises AsdError where the working directory was removed: then torch ends the process."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise AsdError('this folder was removed, and perhaps made anew; cd "$PWD" enters the new one') from error


def _run(stage: str, arguments: list[str]) -> tuple[str, int]:
    """Runs one stage: what there is to say at the end, or its help, and the exit code."""
    _check_known(stage, [*STAGES, *GROUPS], "stage")
    from asd.settings import config
    from asd.settings.parsing import parse, run_config

    if {"-h", "--help"} & set(arguments):
        return _help(stage, STAGES[stage], config.STAGES[stage], arguments), 0
    if stage == "validate" and arguments and "=" not in arguments[0]:
        arguments = [f"path={arguments[0]}", *arguments[1:]]
    base = run_config(arguments) if stage == "score" else None
    settings = parse(config.STAGES[stage], arguments, base, stage)

    function, place = stage.replace("-", "_"), PLACES.get(stage)
    result = getattr(import_module(place or "asd.pipeline"), function)(settings)
    summary = getattr(import_module(place or "asd.stages.summary"), "summary" if place else function)
    code = result.exit_code if stage == "predict" else int(stage in CHECKED and bool(result.defects))
    return summary(settings, result), code


def _group(group: str, arguments: list[str]) -> str:
    """Runs one stage of a group, which returns what there is to say at the end, or gives help."""
    from asd.settings.parsing import parse

    package, meaning = GROUPS[group]
    config = import_module(f"{package}.config")
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        return f"python -m asd {group} <stage> [key=value ...]: {meaning}\n\n{_lines(config.MEANINGS)}"
    stage, *rest = arguments
    _check_known(stage, config.STAGES, f"{group} stage")
    if {"-h", "--help"} & set(rest):
        return _help(f"{group} {stage}", config.MEANINGS[stage], config.STAGES[stage], rest)
    settings = parse(config.STAGES[stage], rest, command=f"{group} {stage}")
    if group == "study":
        return import_module(f"{package}.{stage}").run(settings)
    return getattr(import_module(f"{package}.pipeline"), stage.replace("-", "_"))(settings)


def _check_known(word: str, known: Collection[str], kind: str) -> None:
    if word not in known:
        near = difflib.get_close_matches(word, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"{kind}s: {', '.join(known)}"
        raise AsdError(f"unknown {kind} {word!r}: {hint}")


def _lines(meanings: Mapping[str, str]) -> str:
    return "\n".join(f"  {name:17}{meaning}" for name, meaning in meanings.items())


def _help(command: str, meaning: str, options: Any, arguments: Sequence[str]) -> str:
    """The options of a stage, of the detector that the arguments name where they name one."""
    from asd.settings.help import describe

    named = [word.partition("=")[2] for word in arguments if word.startswith("detector=")]
    return describe(command, meaning, options, named[-1] if named else None)


def _with_utf8() -> None:
    """Starts the process anew where the locale, such as LANG=en_US, has another encoding: all files are in UTF-8.

    A script that is read from standard input (`-`) or typed ("") cannot be read a second time, and goes on as it is.
    """
    is_again, can_restart = os.environ.get("PYTHONUTF8") == "1", sys.argv[0] not in {"-", ""}
    if locale.getpreferredencoding(False).lower() != "utf-8" and can_restart and not is_again:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def end_process(code: int) -> NoReturn:
    """Ends the process with everything written: to take torch down takes 0.3 s and 200 MiB, and nobody needs it."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if "torch" not in sys.modules or not all(thread.daemon for thread in others):
        sys.exit(code)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
