"""The one run lifecycle: where a run lies, what is complete, what belongs to which configuration, score tables."""

from asd.runs.directory import RunDirectory as RunDirectory
from asd.runs.directory import TrainingDirectory as TrainingDirectory
from asd.runs.directory import interrupted_fingerprint as interrupted_fingerprint
from asd.runs.finding import begun_runs as begun_runs
from asd.runs.finding import directories_with as directories_with
from asd.runs.finding import find_runs as find_runs
from asd.runs.finding import machine_names as machine_names
from asd.runs.finding import require_same_seeds as require_same_seeds
from asd.runs.finding import run_names as run_names
from asd.runs.finding import warn_of_run as warn_of_run
from asd.runs.finding import years_of as years_of
from asd.runs.scores import ScoredData as ScoredData
from asd.runs.scores import ScoreFolder as ScoreFolder
from asd.runs.scores import digests as digests
from asd.runs.scores import note_scores as note_scores
from asd.runs.scores import read_scores as read_scores
from asd.runs.scores import score_table as score_table
from asd.runs.scores import stamps_of as stamps_of
