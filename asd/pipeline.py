"""The stages, from a folder of recordings to a submission. START READING HERE.

    train      clips -> features -> detector.fit -> model, then `score`
    score      model + clips -> score table with decisions
    evaluate   score tables -> AUC and pAUC per domain, official score
    submit     score tables -> validated challenge package

Each stage is a function of its configuration, a command (`python -m asd train ...`) and a Makefile target;
between two stages lies a file that a human can open (see `runs`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from asd.challenge import files
from asd.challenge.submission import check_label, write_submission
from asd.challenge.system_meta import SystemFacts, load_template, result_keys
from asd.challenge.validator import Findings, expected_files
from asd.challenge.validator import validate as check_submission
from asd.challenge.years import Year, get_year
from asd.config import DEFAULT_DETECTOR, Demo, Evaluate, Run, Submit, Validate, parse
from asd.core.runtime import atomic, log, pick_device
from asd.detectors import detector_class
from asd.jobs import Job, prepare
from asd.report.evaluation import as_markdown, as_rows, development_results, evaluate_tables
from asd.runs import (
    RunDirectory,
    clips_of,
    find_runs,
    read_config,
    read_json,
    score_table,
    tables_of,
    write_json,
    write_scores,
    write_text,
)
from asd.synthetic import make_machines
from asd.types import AsdError, Split

if TYPE_CHECKING:
    from asd.detectors.base import Detector


def train(config: Run) -> list[RunDirectory]:
    """Fits a detector per machine and seed, then scores every clip. Resumes; finished runs are left alone."""
    if config.weights:
        raise AsdError(f"weights={config.weights} goes with `score`; `train` makes its own weights")
    jobs = list(prepare(config, learn=True))
    for job in jobs:
        if job.run.is_done(job.fingerprint):
            log.info("%s is done already", job.run.path)
            continue
        _score(job, _fitted(job))
    return [job.run for job in jobs]


def score(config: Run) -> list[RunDirectory]:
    """Scores every clip anew with the model of the run, or with `weights=`."""
    jobs = list(prepare(config, learn=config.weights is not None))
    for job in jobs:
        if not config.weights and not job.run.fit_facts():
            raise AsdError(
                f"{job.run.model} holds no model; first make train machine={job.run.machine} "
                f"name={config.run_name}, or give weights="
            )
    for job in jobs:
        _score(job, _fitted(job))
    return [job.run for job in jobs]


def evaluate(config: Evaluate) -> dict[str, Any]:
    """Official score of a run, written to runs/<name>/evaluation.{json,csv,md}; or of submissions."""
    if config.submission or config.ground_truth:
        return _evaluate_submissions(config)
    name = config.name or DEFAULT_DETECTOR
    runs = [run for run in find_runs(config.runs, name) if _labelled(run)]
    if not runs:
        raise AsdError(
            f"no machine of {config.runs / name} has labelled test clips: there is nothing to evaluate"
        )
    _same_seeds(runs)
    scorer = config.scorer or runs[0].default_scorer()
    evaluation = {"name": name, **evaluate_tables(tables_of(runs), config.year, scorer)}
    folder = config.runs / name
    write_json(folder / "evaluation.json", evaluation)
    write_text(folder / "evaluation.md", as_markdown(evaluation, name))
    write_text(folder / "evaluation.csv", as_rows(evaluation).to_csv(index=False))
    if config.json_:
        write_json(config.json_, evaluation)
    return evaluation


def _evaluate_submissions(config: Evaluate) -> dict[str, Any]:
    from asd.challenge.evaluator import evaluate_submissions

    if not (config.submission and config.ground_truth and config.out):
        raise AsdError("evaluating submissions takes all of submission=DIR ground_truth=DIR out=DIR")
    result = evaluate_submissions(config.submission, config.ground_truth, config.year, config.out)
    if config.json_:
        write_json(config.json_, result)
    return result


def submit(config: Submit) -> tuple[Path, Findings]:
    """Packages the scores of a run as a challenge submission and validates the package."""
    year = get_year(config.year)
    check_label(config.label)
    name = config.name or DEFAULT_DETECTOR
    every = find_runs(config.runs, name, config.seed)
    runs = [run for run in every if run.seed == every[0].seed]
    chosen = _machines_to_submit(config, year, runs)
    scorer = config.scorer or runs[0].default_scorer()
    table = pd.concat([_table(run, scorer) for run in runs if run.machine in chosen])
    facts = SystemFacts(
        name=name,
        abbreviation=name[:10],
        sampling_rate_hz=read_config(runs[0])["sample_rate_hz"],
        results=_development_results(config, name, scorer, year),
        **read_json(runs[0].model / "facts.json"),
    )
    folder = write_submission(
        table,
        facts,
        label=config.label,
        year=year,
        folder=config.out,
        user_file=config.authors,
        template_file=config.template,
    )
    expected = None if chosen == set(year.eval) else expected_files(clips_of(table), year)
    return folder, check_submission(folder, year, expected=expected, template_file=config.template)


def validate(config: Validate) -> Findings:
    """Everything that is wrong with a package, in sentences."""
    year = get_year(config.year)
    expected = None
    if config.data:
        clips = [
            clip
            for machine in files.list_machines(config.data)
            for clip in files.list_clips(config.data, machine, Split.TEST, original_names=True)
        ]
        expected = expected_files(clips, year)
    return check_submission(config.path, year, expected=expected)


def demo(config: Demo) -> tuple[list[RunDirectory], dict[str, Any], Path]:
    """Everything once on synthetic machines: data, train, score, evaluate, submit, validate."""
    make_machines(config.data)
    runs = train(parse(Run, [f"data={config.data}", f"runs={config.runs}", "name=demo"]))
    evaluation = evaluate(Evaluate(name="demo", runs=config.runs))
    folder, _ = submit(Submit(label="Demo_ASD_task2_1", name="demo", runs=config.runs, out=config.out))
    return runs, evaluation, folder


def _labelled(run: RunDirectory) -> bool:
    tables = run.tables()
    return bool(tables) and all((table["label"] != "").all() for table in tables.values())


def _same_seeds(runs: list[RunDirectory]) -> None:
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.machine, []).append(run.seed)
    if len({tuple(value) for value in seeds.values()}) > 1:
        listing = "; ".join(f"{machine} {','.join(map(str, s))}" for machine, s in seeds.items())
        raise AsdError(
            f"the machines have different seeds ({listing}); train the missing ones, then evaluate"
        )


def _machines_to_submit(config: Submit, year: Year, runs: list[RunDirectory]) -> set[str]:
    """The evaluation machines of the year; in a run without any, as in a rehearsal, all of its machines."""
    have = {run.machine for run in runs}
    if config.machine not in (["auto"], ["all"]):
        if missing := sorted(set(config.machine) - have):
            raise AsdError(f"machine={missing[0]} is not in the run; it has {', '.join(sorted(have))}")
        return set(config.machine)
    official = have & set(year.eval)
    if official and config.machine == ["auto"]:
        return official
    log.warning(
        "no evaluation machine of %d is in the run: packaging a rehearsal of %s",
        year.year,
        ", ".join(sorted(have)),
    )
    return have


def _development_results(config: Submit, name: str, scorer: str, year: Year) -> dict[str, dict[str, float]]:
    """Figures of the labelled machines for the meta file, in per cent; {} where no clip is labelled."""
    runs = [run for run in find_runs(config.runs, name) if _labelled(run)]
    if not runs:
        return {}
    keys = result_keys(load_template(year, config.template))
    return development_results(evaluate_tables(tables_of(runs), config.year, scorer), scorer, keys)


def _table(run: RunDirectory, scorer: str) -> pd.DataFrame:
    tables = run.tables()
    if scorer not in tables:
        raise AsdError(f"{run.path} has no scores of scorer={scorer}; it has {', '.join(tables) or 'none'}")
    return tables[scorer]


def _detector(job: Job) -> Detector:
    from asd.detectors.base import Workplace  # brings torch, which evaluating and packaging do without

    config = job.config
    workplace = Workplace(
        device=pick_device(config.device),
        cache=config.runs / ".cache",
        directory=job.run.path,
        seed=job.run.seed,
        fingerprint=job.model_fingerprint,
    )
    return detector_class(config.detector)(workplace, **config.detector_arguments())


def _fitted(job: Job) -> Detector:
    """The detector of a job: loaded where the run has it, else fitted (or given weights) and saved."""
    detector = _detector(job)
    foreign = job.is_foreign()
    if job.learn is None or (job.run.fit_facts() and not foreign):
        job.run.check_model()
        detector.load(job.run.model)
        return detector
    if foreign:
        job.run.clear()
    write_text(
        job.run.path / "config.yaml", yaml.safe_dump(job.config.model_dump(mode="json"), sort_keys=False)
    )
    if job.config.weights:
        detector.load_weights(job.config.weights)
    else:
        detector.fit(job.learn)
    training = pd.DataFrame(detector.score_training(job.learn))
    training.insert(0, "file", [clip.name for clip in job.learn.clips])
    with atomic(job.run.model) as folder:
        folder.mkdir()
        detector.save(folder)
        training.to_csv(folder / "training_scores.csv", index=False)
        write_json(folder / "facts.json", detector.facts())
        job.run.seal_model(folder, job.settings, job.data)
    (job.run.path / "state.safetensors").unlink(missing_ok=True)
    return detector


def _score(job: Job, detector: Detector) -> None:
    """Writes a score table per scorer, the thresholds, and DONE."""
    from asd.scoring.threshold import fit_threshold

    (job.run.path / "DONE").unlink(missing_ok=True)
    training = job.run.training_scores()
    thresholds = {}
    for scorer in detector.scorers:
        normal = detector.calibration.get(scorer, training[scorer].to_numpy(float))
        thresholds[scorer] = fit_threshold(normal, job.config.decision.method, job.config.decision.quantile)
    if job.test is not None:
        for scorer, values in detector.score(job.test).items():
            table = score_table(job.test.clips, values, thresholds[scorer].decide(values))
            write_scores(job.run.path / "scores" / f"{scorer}.csv", table)
    write_json(job.run.path / "scores" / "thresholds.json", {k: t.as_dict() for k, t in thresholds.items()})
    write_json(job.run.path / "DONE", {"fingerprint": job.fingerprint, "default": detector.scorers[0]})
