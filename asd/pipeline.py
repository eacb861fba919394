"""The stages, from a folder of recordings to a submission. START READING HERE.

    data         published archives -> folders of clips; `data-check` says what is whole
    train        clips -> features -> detector.fit -> model, then `score`
    enroll       a handful of normal clips -> model, and how sure it can be
    score        model + clips -> score table with decisions
    evaluate     score tables -> AUC and pAUC per domain, official score
    leaderboard  score tables of several runs -> their order, and what the clips can settle
    fuse         score tables of several runs -> those of one
    predict      model + any recordings -> the most suspicious first
    explain      model + clips -> what moved the score of a clip
    report       score tables + model + clips -> one page to look at and listen to
    submit       score tables -> validated challenge package
    bundle       packages -> one validated archive

Each stage is a function of its configuration, a command (`python -m asd train ...`) and a Makefile target; between
two stages lies a file that a human can open (see `runs`). `__main__.PLACES` names the stages that have a module of
their own, as predict and report do. CONTRIBUTING.md says where a new back end, layout, year or page goes. Torch is
imported where it is needed: evaluating and packaging do without.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from asd.challenge.validator import Findings
from asd.challenge.validator import validate as check_submission
from asd.challenge.years import get_year
from asd.core.files import write_json, write_text
from asd.core.storage import list_names, publish_files
from asd.evaluation.completeness import chosen_runs
from asd.evaluation.explain import choose_clips
from asd.evaluation.fusion import fuse_runs
from asd.evaluation.labelling import evaluation_name, labelled_scores
from asd.evaluation.leaderboard import Asked, rank_runs
from asd.evaluation.markdown import place_in, write_results
from asd.evaluation.rule import LATEST_YEAR, meant_year
from asd.evaluation.tables import as_markdown, as_rows, decisions_as_markdown, evaluate_tables
from asd.runs import RunDirectory, note_scores, warn_of_run
from asd.settings import stages as options
from asd.settings.config import Demo, Enroll, Fuse, Run
from asd.stages.obtaining import data as data
from asd.stages.obtaining import data_check as data_check
from asd.stages.packaging import Package, expected_in, submit
from asd.stages.packaging import bundle as bundle
from asd.synthetic import make_machines
from asd.types import AsdError


def train(config: Run) -> list[RunDirectory]:
    """Fits a detector per machine and seed, then scores every clip. Resumes; finished runs are left alone."""
    if config.weights:
        raise AsdError(f"weights={config.weights} goes with `score`; `train` makes its own weights")
    from asd.stages.running import run_jobs

    return run_jobs(config, learn=True, again=False)


def enroll(config: Enroll) -> list[RunDirectory]:
    """Fits a detector on a handful of normal recordings: none is held out, and the threshold promises what it can."""
    return train(config)


def score(config: Run) -> list[RunDirectory]:
    """Scores every clip anew with the model of the run, or with `weights=`."""
    from asd.stages.running import run_jobs

    return run_jobs(config, learn=config.weights is not None, again=True)


def evaluate(config: options.Evaluate) -> dict[str, Any]:
    """Official score of a run, written to runs/<name>/evaluation.{json,csv,md}; or of submissions."""
    if config.submission or (config.ground_truth and config.part == "dev"):
        return _evaluate_submissions(config)
    if config.out:
        raise AsdError(f"out={config.out} is for submissions, and a run keeps its results; name a copy with json=")
    name = config.name
    if config.page:
        place_in(config.page, f"decisions of {name}")  # or it is refused, before anything is written
    part, truth = config.part, config.ground_truth
    year, plain = meant_year(config.runs, name, config.machine, config.data, config.year, by_names=part == "dev")
    scores = labelled_scores(config.runs, name, year, config.machine, config.data, part=part, ground_truth=truth)
    found = evaluate_tables(scores.tables, year, config.scorer or scores.default, plain=plain)
    facts = {"untrained_sections": scores.untrained, "missing": scores.missing, "scored": scores.scored}
    evaluation = {"name": name, **found, **facts}
    stem = config.runs / name / evaluation_name(config.part, config.data)
    write_results(stem, evaluation, as_rows(evaluation), as_markdown(evaluation, name))
    warn_of_run(config.runs, name)
    if config.json_:
        write_json(config.json_, evaluation)
    if config.page:
        table = f"\n\n{decisions_as_markdown(evaluation)}\n\n"
        write_text(config.page, table.join(place_in(config.page, f"decisions of {name}")))
    return evaluation


def _evaluate_submissions(config: options.Evaluate) -> dict[str, Any]:
    from asd.challenge.evaluator import evaluate_submissions

    if not (config.submission and config.ground_truth and config.out):
        way = "" if config.submission else "; published labels of a run's evaluation set go with part=eval"
        raise AsdError(f"evaluating submissions takes all of submission=DIR ground_truth=DIR out=DIR{way}")
    if given := sorted(config.model_fields_set & {"name", "machine", "data", "part", "scorer", "page"}):
        raise AsdError(f"{given[0]}= is an option of the evaluation of a run, not of submissions; leave it out")
    year = LATEST_YEAR if config.year is None else config.year
    list_names(config.ground_truth)
    result = evaluate_submissions(config.submission, config.ground_truth, year, config.out)
    if config.json_:
        write_json(config.json_, result)
    return result


def leaderboard(config: options.Leaderboard) -> pd.DataFrame:
    """Ranks runs, with paired intervals of their differences; written to runs/leaderboard.{md,csv,json}."""
    asked = Asked(config.runs, config.year, config.part, config.ground_truth)
    return rank_runs(asked, members=config.members, machines=config.machine, reference=config.reference)


def fuse(config: Fuse) -> list[RunDirectory]:
    """Makes one run of several: scores on a common scale by training scores, averaged per clip."""
    for name in dict.fromkeys(member.partition(":")[0] for member in config.members):
        warn_of_run(config.runs, name)
    options = config.model_dump(include={"method", "decision", "overwrite"})
    return fuse_runs(config.runs, config.members, config.name, machines=config.machine, **options)


def explain(config: options.Explain) -> pd.DataFrame:
    """What moved the scores of clips: a picture for each, in explain/ beside their scores."""
    from asd.stages.explaining import Material, explain_clips
    from asd.stages.fitting import fitted
    from asd.stages.scored_clips import in_order, predicted_recordings, predicted_tables, scored_clips, stored_job

    predictions = config.predictions
    if config.audio:
        from asd.stages.predicting import predict

        shared = config.model_dump(include={"audio", "name", "machine", "scorer", "seed", "runs"})
        predictions = predict(options.Predict(**shared)).folder / "predictions.csv"
    every = chosen_runs(config.runs, config.name, config.machine, config.seed)
    runs = [run for run in every if run.seed == every[0].seed]
    predicted = predicted_tables(predictions, runs, config.scorer) if predictions else None
    tables = []
    for run in predicted or runs:
        job, train = stored_job(run, config.runs)
        scorer = config.scorer or run.default_scorer()
        if predictions and predicted:
            table, place = predicted[run], predictions.parent / "explain" / run.machine
            rows = choose_clips(table, config.clip, config.worst)
            chosen = predicted_recordings(rows, train)
        else:
            scores, test = scored_clips(job, config.data)
            table = scores.table(scorer).reset_index(drop=True)
            place = (scores.path if config.data else run.path) / "explain"
            rows = choose_clips(table, config.clip, config.worst)
            chosen = in_order(test, rows)
        tables.append(explain_clips(Material(fitted(job), scorer, rows, chosen, train), len(table), place))
        if not predicted:
            note_scores(place / "scored.json", run.path.parents[1], [scores])
        publish_files(place)
    return pd.concat(tables, ignore_index=True)


def validate(config: options.Validate) -> Findings:
    """Everything that is wrong with a package, in sentences."""
    year = get_year(config.year)
    return check_submission(config.path, year, expected=expected_in(config.data, year), template_file=config.template)


def demo(config: Demo) -> tuple[list[RunDirectory], dict[str, Any], Package]:
    """Everything once on synthetic machines: data, train, score, evaluate, submit, validate."""
    make_machines(config.data)
    runs = train(Run(data=config.data, runs=config.runs, name="demo"))
    evaluation = evaluate(options.Evaluate(name="demo", runs=config.runs))
    packed = submit(options.Submit(label="Demo_ASD_task2_1", name="demo", runs=config.runs, out=config.out))
    return runs, evaluation, packed
