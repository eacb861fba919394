"""Which changed lines the tests do not notice: mutmut on one module after the other, with the tests of that module.

python tools/mutate.py                          every module; goes on where it was stopped; survivors and a table
python tools/mutate.py asd/metrics.py           one module
python tools/mutate.py sample=1000 seed=0       that many changes, drawn from all of them together
python tools/mutate.py again asd/metrics.py     survivors once more, after tests were added
python tools/mutate.py table                    what is known so far
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import binomtest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".mutate"  # mutmut with its libraries, put there by `make mutate`
WORK = ROOT / ".mutate-work"  # a folder per module: what mutmut knows of it

# The module, and the tests that should notice a change: those of the module, and of what is made of it.
TESTS = {
    "asd/types.py": "types",
    "asd/places.py": "places found_clips storage",
    "asd/challenge/names.py": "files found_clips layouts",
    "asd/challenge/files.py": "files found_clips layouts",
    "asd/metrics.py": "metrics",
    "asd/evaluation/score_table.py": "metrics",
    "asd/evaluation/confidence.py": "confidence sed_report_numbers",
    "asd/scoring/backends.py": "backends gaussian neighbours",
    "asd/scoring/gaussian.py": "covariance gaussian backends",
    "asd/detectors/statistic_groups.py": "covariance statistics fault_mlp",
    "asd/scoring/nearest.py": "nearest neighbours backends",
    "asd/scoring/neighbours.py": "neighbours nearest",
    "asd/scoring/references.py": "references gaussian backends",
    "asd/core/networks/autoencoder.py": "autoencoder covariance",
    "asd/scoring/threshold.py": "threshold gamma",
    "asd/scoring/variants.py": "nearest_variants gaussian backends",
    "asd/features/clip_statistics.py": "clip_statistics normal_spectra",
    "asd/features/logmel.py": "features clip_statistics",
    "asd/features/pooling.py": "pooling clip_statistics",
    "asd/features/spectral_statistics.py": "spectral_statistics clip_statistics",
    "asd/features/waveforms.py": "waveforms",
    "asd/data/audio.py": "audio defects formats recordings memory",
    "asd/data/codecs.py": "headers formats audio",
    "asd/data/given.py": "given layouts",
    "asd/data/headers.py": "headers formats",
    "asd/data/recordings.py": "recordings formats",
    "asd/data/remarks.py": "remarks recordings",
    "asd/features/faults.py": "fault_formulas faults",
    "asd/features/normal_spectra.py": "normal_spectra",
    "asd/features/augment.py": "augment",
    "asd/challenge/years.py": "years installed",
    "asd/challenge/ground_truth.py": "ground_truth evaluator",
    "asd/challenge/result_files.py": "result_files evaluator",
    "asd/challenge/evaluator.py": "evaluator",
    "asd/challenge/submission.py": "submission",
    "asd/challenge/validator.py": "validator",
    "asd/runs/scores.py": "score_folder lifecycle",
    "asd/runs/directory.py": "run_folders lifecycle",
    "asd/runs/finding.py": "run_folders lifecycle",
    "asd/evaluation/tables.py": "evaluation",
    "asd/evaluation/labelling.py": "labelling",
    "asd/evaluation/fusion.py": "fusion",
    "asd/evaluation/comparison.py": "comparison",
    "asd/evaluation/leaderboard.py": "leaderboard",
    "asd/stages/fitting.py": "fitting confirming",
    "asd/stages/predictions.py": "predicting",
    "asd/stages/scored_clips.py": "scored_clips explain confirming",
    "asd/deploy/stream.py": "stream listener",
    "asd/deploy/alarms.py": "alarms listener",
    "asd/core/files.py": "core_files checkpoint",
    "asd/detectors/choice.py": "choice",
    "asd/detectors/windowed.py": "windowed",
    "asd/detectors/statistics.py": "statistics choice",
    "asd/options.py": "options",
    "asd/deploy/listener.py": "listener listen",
    "asd/deploy/wave.py": "wave",
    "asd/deploy/sources.py": "sources",
    "asd/deploy/folder.py": "sources",
    "asd/deploy/sinks.py": "sinks listen",
    "asd/deploy/models.py": "serve listen",
    "asd/deploy/service.py": "service",
    "asd/stages/jobs.py": "jobs layouts supplemental keep_going bad_input own_recordings",
    "asd/stages/running.py": "jobs keep_going library bad_words",
    "asd/stages/predicting.py": "predicting confirming",
    "asd/stages/confirming.py": "confirming",
    "asd/stages/trials.py": "sweep",
    "asd/stages/planting.py": "sweep",
    "asd/stages/summary.py": "completeness",
    "asd/stages/packaging.py": "submission_archive completeness",
    "asd/settings/parsing.py": "parsing help sweep",
    "asd/settings/config.py": "parsing options help",
    "asd/settings/help.py": "help",
    "asd/data/dataset.py": "layouts same_data",
    "asd/data/supplemental.py": "supplemental",
    "asd/data/frontends.py": "frontends hall",
    "asd/data/layouts/plain.py": "layouts given",
    "asd/data/layouts/table.py": "layouts given",
    "asd/data/layouts/toyadmos.py": "layouts given",
    "asd/data/layouts/words.py": "layouts given",
    "asd/core/executors.py": "executors predicting",
    "asd/core/trainer.py": "trainer train_state",
    "asd/core/update.py": "update schedules train_settings",
    "asd/core/semi.py": "teacher confident trainer",
    "asd/core/train_state.py": "train_state checkpoint",
    "asd/core/runtime.py": "runtime executors threads",
    "asd/core/losses/binary.py": "binary overlap catalogue",
    "asd/core/losses/cells.py": "cells categorical",
    "asd/core/losses/graph.py": "graph",
    "asd/core/losses/metric_learning.py": "metric_learning",
    "asd/core/losses/multitask.py": "multitask",
    "asd/sed/metrics.py": "sed_metrics",
    "asd/sed/cell_metrics.py": "sed_cell_metrics sed_cell_metrics_calibration",
    "asd/sed/tables.py": "sed_tables",
    "asd/sed/labels.py": "sed_labels sed_labels_decoding",
    "asd/sed/dataset.py": "sed_dataset",
    "asd/sed/soundscapes.py": "sed_soundscapes",
    "asd/evaluation/completeness.py": "completeness",
    "asd/evaluation/explain.py": "explain",
    "asd/evaluation/markdown.py": "markdown",
    "asd/library.py": "library predicting",
}
AT_IMPORT = ("asd.challenge.names.x__section_name__", "asd.challenge.years.x__every__")  # before mutmut switches one on
NOTICED = {1, 3, 24, -24, 36, 152, 255}  # mutmut's exit codes: a test failed, or the time ran out
CONFIG = """[tool.mutmut]
source_paths = ["asd"]
only_mutate = ["{module}"]
also_copy = ["README.md", "tools", "configs"]
pytest_add_cli_args = ["-m", "not slow and not gpu", "-p", "no:xdist", "-p", "no:randomly"]
pytest_add_cli_args_test_selection = {tests}

[tool.pytest.ini_options]
addopts = "--strict-markers"
timeout = 600
markers = ["gpu: needs a CUDA device", "sed: needs more libraries", "slow: more than a few seconds"]
"""
GENERATE = """from mutmut.__main__ import *
copy_src_dir(); copy_also_copy_files(); setup_source_paths(); create_mutants(1)"""


def place(module: str) -> Path:
    """The folder in which mutmut works on a module."""
    return WORK / module.removesuffix(".py").replace("/", ".")


def mutmut(module: str, *command: str) -> None:
    """Runs Python with mutmut on the code and the tests of this checkout."""
    folder = place(module)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("asd", "tests", "README.md", "tools", "configs"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(ROOT / name)
    shutil.rmtree(folder / "mutants/tests", ignore_errors=True)  # a test that is gone must not run
    tests = [f"tests/test_{name}.py" for name in TESTS[module].split()]
    (folder / "pyproject.toml").write_text(CONFIG.format(module=module, tests=json.dumps(tests)))
    shared = os.environ.get("ASD_SHARED", str(ROOT.parent / "shared"))
    environment = {**os.environ, "PYTHONPATH": str(TOOLS), "OMP_NUM_THREADS": "1", "ASD_SHARED": shared}
    subprocess.run([sys.executable, *command], cwd=folder, env=environment, check=False)


def try_changes(module: str, names: Sequence[str] = ()) -> None:
    """Tries changes: those that are named, or all that were not tried yet."""
    mutmut(module, "-m", "mutmut", "run", "--max-children", "1", *names)


def found(module: str) -> dict[str, int | None]:
    """By change, mutmut's exit code; None where it was not tried yet."""
    path = place(module) / "mutants" / f"{module}.meta"
    codes: dict[str, int | None] = json.loads(path.read_text())["exit_code_by_key"] if path.is_file() else {}
    return codes


def survivors(module: str) -> list[str]:
    """The changes of a module that its tests did not notice."""
    return [name for name, code in found(module).items() if code is not None and code not in NOTICED]


def sample(modules: Sequence[str], size: int, seed: int) -> None:
    """Tries changes that are drawn from those of all modules together; the same again where it was stopped."""
    for module in modules:
        if not found(module):
            mutmut(module, "-c", GENERATE)
    every = sorted((module, name) for module in modules for name in found(module) if not name.startswith(AT_IMPORT))
    drawn = random.Random(seed).sample(every, min(size, len(every)))
    for module in modules:
        if names := [name for of, name in drawn if of == module and found(module)[name] is None]:
            try_changes(module, names)


def table() -> None:
    """Prints what is known of every module, and a 95 % interval where not all changes were tried."""
    print("| module | changes | tried | noticed | survived |\n|---|---|---|---|---|")
    sums = [0, 0, 0]
    for module in TESTS:
        codes = found(module)
        tried = sum(code is not None for code in codes.values())
        row = [len(codes), tried, tried - len(survivors(module))]
        sums = [total + n for total, n in zip(sums, row, strict=True)]
        name = module.removeprefix("asd/").removesuffix(".py").replace("/", ".")
        print(f"| `{name}` | {' | '.join(map(str, row))} | {row[1] - row[2]} |")
    print(f"| **together** | {' | '.join(map(str, sums))} | {sums[1] - sums[2]} |")
    if sums[1]:
        low, high = binomtest(sums[2], sums[1]).proportion_ci(method="wilson")
        print(f"\nnoticed: {sums[2] / sums[1]:.1%}, 95 % interval {low:.1%} to {high:.1%} ({sums[1]} tried)")


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    options = dict(word.split("=") for word in arguments if "=" in word)
    modules = [word for word in arguments if word.endswith(".py")] or list(TESTS)
    if unknown := sorted({*modules} - {*TESTS}):
        print(f"{unknown[0]} has no tests in tools/mutate.py; it knows {', '.join(TESTS)}")
        return 2
    if "sample" in options:
        sample(modules, int(options["sample"]), int(options.get("seed", "0")))
    elif "table" not in arguments:
        for module in modules:
            names = survivors(module) if "again" in arguments else []
            if names or "again" not in arguments:
                try_changes(module, names)
    for module in modules:
        print("\n".join(survivors(module)))
    table()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
