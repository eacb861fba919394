"""The one run lifecycle: where a run lies, what is complete, what belongs to which configuration, score tables."""

from asd.runs.directory import (
    FRONT_END_FILE,
    RECORDED_FILE,
    RunDirectory,
    TrainingDirectory,
    directories_with,
    interrupted,
)
from asd.runs.finding import begun_runs, find_runs, run_names, same_seeds, warn_of_run
from asd.runs.scores import ScoredData, ScoreFolder, digests, note_scores, read_scores, score_table

__all__ = [
    "FRONT_END_FILE",
    "RECORDED_FILE",
    "RunDirectory",
    "ScoreFolder",
    "ScoredData",
    "TrainingDirectory",
    "begun_runs",
    "digests",
    "directories_with",
    "find_runs",
    "interrupted",
    "note_scores",
    "read_scores",
    "run_names",
    "same_seeds",
    "score_table",
    "warn_of_run",
]
