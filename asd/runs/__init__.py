"""The one run lifecycle: where a run lies, what is complete, what belongs to which configuration, score tables."""

from asd.runs.directory import RunDirectory, begun_runs, find_runs, place_name, run_names, same_seeds
from asd.runs.lifecycle import TrainingDirectory, digests, directories_with, interrupted, note_scores, warn_of_stale
from asd.runs.scores import ScoredData, ScoreFolder, clips_of, read_scores, score_table

__all__ = [
    "RunDirectory",
    "ScoreFolder",
    "ScoredData",
    "TrainingDirectory",
    "begun_runs",
    "clips_of",
    "digests",
    "directories_with",
    "find_runs",
    "interrupted",
    "note_scores",
    "place_name",
    "read_scores",
    "run_names",
    "same_seeds",
    "score_table",
    "warn_of_stale",
]
