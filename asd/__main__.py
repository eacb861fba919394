"""Command line: `python -m asd <stage> key=value ...`, also installed as `asd`.

Only words and exit codes live here: 0 done, 1 a defect found by `validate`, 2 an error the user can act
on (one sentence), 130 interrupted.
"""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Sequence

STAGES = {
    "train": "fit a detector on the normal clips of machines, then score their test clips",
    "score": "score test clips with a trained run, or with weights=FILE",
    "evaluate": "AUC and pAUC per machine and domain of a run, or official results of submissions",
    "fuse": "make one run of several: mean of their scores on a common scale",
    "explain": "what moved the score of a clip: a picture per clip, and a table",
    "submit": "package the scores of a run as a challenge submission, and validate it",
    "validate": "name every defect of a submission package",
    "benchmark": "many methods on the same machines, in one table",
    "demo": "all of it once, on small synthetic machines",
}

USAGE = """usage: python -m asd <stage> [key=value ...]

stages
{stages}

python -m asd <stage> --help lists the words of a stage. Example:
  python -m asd train machine=fan data=DIR detector=autoencoder seed=0 name=RUN training.epochs=5"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one stage; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help", "help"}:
        print(USAGE.format(stages="\n".join(f"  {name:10}{meaning}" for name, meaning in STAGES.items())))
        return 0
    stage, *rest = words
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    from asd.types import AsdError

    try:
        if stage not in STAGES:
            near = difflib.get_close_matches(stage, STAGES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"stages: {', '.join(STAGES)}"
            raise AsdError(f"unknown stage {stage!r}: {hint}")
        if {"-h", "--help"} & set(rest):
            _print_words(stage)
            return 0
        return _run(stage, rest)
    except AsdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a place that vanished, or may not be read
        print(f"error: {error}; check the place and its permissions, then try again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing finished is lost, the same command resumes", file=sys.stderr)
        return 130


def _run(stage: str, words: list[str]) -> int:
    from asd import config
    from asd.words import parse, run_config

    if stage == "validate" and words and "=" not in words[0]:
        words = [f"path={words[0]}", *words[1:]]
    base = run_config(words) if stage == "score" else None
    settings = parse(config.STAGES[stage], words, base)

    from asd import benchmarking, pipeline, summary

    result = getattr(benchmarking if stage == "benchmark" else pipeline, stage)(settings)
    print(getattr(summary, stage)(settings, result))
    return 1 if stage == "validate" and result.defects else 0


def _print_words(stage: str) -> None:
    from asd import config
    from asd.words import keys

    print(f"python -m asd {stage}: {STAGES[stage]}\n")
    for key, default, meaning in keys(config.STAGES[stage]):
        print(f"  {key + '=' + default:34} {meaning}")
    print(f"  {'config=':34} YAML file of such words; those of the command line win")


if __name__ == "__main__":
    sys.exit(main())
