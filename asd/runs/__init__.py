"""The one run lifecycle: where a run lies, what is complete, what belongs to which configuration, score tables."""

from asd.runs.directory import RunDirectory, TrainingDirectory, directories_with, interrupted
from asd.runs.finding import begun_runs, find_runs, run_names, same_seeds, warn_of_run
from asd.runs.scores import ScoredData, ScoreFolder, digests, note_scores, read_scores, score_table

__all__ = [
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
