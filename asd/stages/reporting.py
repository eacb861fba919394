"""The stage `report`: score tables, recordings and the model of a run to one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.challenge.years import get_year
from asd.core.files import check_file_place, write_text
from asd.core.runtime import log, progress
from asd.core.storage import fetch, publish_files
from asd.core.tracking import Tracked, tracking
from asd.evaluation.comparison import BySeed, Entry, measured, ranked
from asd.evaluation.completeness import chosen_runs, missing_runs
from asd.evaluation.explain import FloatArray, with_verdicts
from asd.evaluation.labelling import require_same_clips
from asd.evaluation.report import contents
from asd.evaluation.report.contents import MachineScores, PageMedia, ShownClips
from asd.evaluation.rule import meant_year, rule_year
from asd.features.normal_spectra import NormalSpectra, mean_spectra
from asd.places import spelled
from asd.runs import RunDirectory, find_runs, note_scores, warn_of_run
from asd.settings.stages import Report
from asd.stages.explaining import Material, Pair
from asd.stages.fitting import fitted
from asd.stages.scored_clips import in_order, predicted_recordings, predicted_tables, stored_job, threshold_of
from asd.types import AsdError, Clip

_MOST_ON_MAP, _LEAST_TRAINING_ON_MAP = 1200, 300  # clips that t-SNE lays out in seconds
_PEAK, _MOST_GAIN_DB = 0.9, 40  # of the loudest shown sound of a machine


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A page that was written: its file, its size, and what it holds."""

    path: Path
    n_bytes: int
    contents: Mapping[str, Any]


def report(config: Report) -> WrittenReport:
    """One HTML file, which needs nothing else: runs/<name>/report.html, or report.html beside predictions."""
    name = config.name
    every = chosen_runs(config.runs, name, config.machine)
    folder = config.predictions.parent if config.predictions else config.runs / name
    check_file_place(path := config.out or folder / "report.html")
    warn_of_run(config.runs, name)
    missing = missing_runs(config.runs, name, config.machine)
    for machine in sorted({machine for machine, _ in missing}):
        lacks = "; ".join(what for of, what in missing if of == machine)
        log.warning("%s is not whole, and the page lacks a part: %s %s", config.runs / name, machine, lacks)
    seed = every[0].seed if config.seed is None else config.seed
    runs = {run.machine: run for run in chosen_runs(config.runs, name, config.machine, seed)}
    for run in runs.values():
        fetch(run.path)
    scorer = config.scorer or next(iter(runs.values())).default_scorer()
    scored = _scored(config, [*runs.values()], scorer)
    numbers = None if config.predictions else _numbers(config, name, every, scorer)
    page = PageMedia(0)
    parts = []
    for place, scores in enumerate(scored):
        left = int(1e6 * config.megabytes) - page.n_characters
        page.most_characters = page.n_characters + left // (len(scored) - place)
        shown = _shown(config, runs[scores.machine], scorer, scores, page)
        parts.append(contents.machine_part(scores, shown))
    held = {
        "name": name,
        "scorer": scorer,
        "seed": seed,
        "made": date.today().isoformat(),
        "about": spelled(str(config.predictions or "the run's own test clips")),
        "n_clips": sum(len(scores.table) for scores in scored),
        "n_shown": sum("sounds" in clip for part in parts for clip in part["clips"]),
        "media_bytes": page.n_characters,
        "codec": config.audio,
        "numbers": numbers,
        "data": {"machines": parts, "comparisons": (numbers or {}).get("comparisons", [])},
    }
    text = contents.as_html(held, page.media)
    write_text(path, text)
    if config.out is None and not config.predictions:
        note_scores(path.with_suffix(".json"), path.parent, [run.scores for run in runs.values()])
        publish_files(path.with_suffix(".json"))
    publish_files(path)
    for run in runs.values():
        with tracking(run.config().get("track", "none"), Tracked.of(run.path, run.held_fingerprint() or "")) as board:
            if board:
                board.artifact(path)
    return WrittenReport(path, len(text.encode()), held)


def summary(config: Report, result: WrittenReport) -> str:
    """Where the page is, and what it holds."""
    held, n_machines = result.contents, len(result.contents["data"]["machines"])
    machines = "1 machine" if n_machines == 1 else f"{n_machines} machines"
    return (
        f"written: {result.path} ({result.n_bytes / 1e6:.1f} MB), {held['n_clips']} clips of {machines}, "
        f"{held['n_shown']} of them to look at and listen to\nopen it in any browser; it needs no network"
    )


def _scored(config: Report, runs: Sequence[RunDirectory], scorer: str) -> list[MachineScores]:
    """The scores of the run's own test clips, or of predictions: their clips have no labels unless a column says so."""
    if config.predictions:
        tables = predicted_tables(config.predictions, runs, scorer)
    elif any(run.scores.scorers for run in runs):
        tables = {run: run.scores.table(scorer).assign(threshold=threshold_of(run, scorer)) for run in runs}
    else:
        raise AsdError(
            f"no test clips of {runs[0].path.parents[1]} were scored; put some into test/ and `score` them, or "
            f"`predict audio=...` and `report predictions=...`"
        )
    training = {run: run.training_scores()[scorer].to_numpy(float) for run in tables}
    return [
        MachineScores(run.machine, table, float(table["threshold"].iloc[0]), training[run])
        for run, table in tables.items()
        if len(table)
    ]


def _shown(config: Report, run: RunDirectory, scorer: str, scores: MachineScores, page: PageMedia) -> ShownClips:
    """What there is to look at and listen to of a machine."""
    if config.clips == 0:
        return ShownClips(notes=["clips=0: the page holds no sounds and no pictures."])
    if not run.fit_facts():
        return ShownClips(notes=["A fused run has no model of its own: look at its members for sounds and pictures."])
    job, train = stored_job(run, config.runs)
    if config.predictions:
        test = predicted_recordings(scores.table, train)
    elif job.test is not None:
        test = in_order(job.test.recordings, scores.table)
    else:
        raise AsdError(f"{run.path} has no clips at {job.config.data_root}; say clips=0 for a page without sounds")
    return _exhibited(Material(fitted(job), scorer, scores.table, test, train), config, page)


def _exhibited(material: Material, config: Report, page: PageMedia) -> ShownClips:
    """Adds sounds and pictures of the clips of interest to the page, as long as there is room."""
    test = material.test
    device = material.detector.context.device
    normal, queries = NormalSpectra.of(material.train, device), mean_spectra(test, device)
    rows = contents.of_interest(material.table, config.clips)
    in_windows = material.in_windows(rows)
    pairs = [
        Pair(in_windows, row, index, float(np.sqrt(np.square(normal.spectra[index] - queries[row]).mean())))
        for row, index in zip(rows, _neighbours(material, rows, normal, queries), strict=True)
    ]
    peak = max(float(np.abs(wave).max()) for pair in pairs for wave in pair.waves)  # brought to full scale, all alike
    gain_db = int(np.clip(math.floor(20 * math.log10(_PEAK / max(peak, 1e-9))), -_MOST_GAIN_DB, _MOST_GAIN_DB))
    shown = ShownClips([_condition(clip) for clip in test.clips], [str(clip.path) for clip in test.clips])
    shown.defects = [sound.defect or "" for sound in test.sounds]
    can_explain = not test.front_end.residual  # a score of two waveforms, of which one would be altered
    for place, pair in enumerate(progress(pairs, f"{test.clips[0].machine} exhibits")):
        part, media = pair.media(config.audio, gain_db)
        if can_explain and place < config.explained:
            effects, name = pair.effects(), f"{pair.name}-explained"
            figure = pair.figure(with_verdicts(material.table).iloc[pair.row], len(material.table), effects)
            part |= {"explained": name, "effects": effects.as_columns()}
            media[name] = contents.figure_picture(figure)
        if not page.add(media):
            break
        shown.parts[pair.row] = part
    _note_sounds(shown, len(material.table), gain_db, config.clips)
    if any(pair.sound.whole for pair in pairs):
        shown.notes.append("Of a recording of more than a minute, the part with the highest score is shown.")
    _lay_out(shown, material, normal.spectra, queries)
    return shown


def _condition(clip: Clip) -> str:
    """The attributes of a clip in words."""
    return ", ".join(f"{key} {value}" for key, value in clip.attributes.items())


def _neighbours(material: Material, rows: Sequence[int], normal: NormalSpectra, queries: FloatArray) -> list[int]:
    """The training clip beside each row: the one that the table names, or the nearest."""
    clips = material.train.clips
    places = {name: i for i in reversed(range(len(clips))) for name in (clips[i].name, str(clips[i].path))}
    named = material.table["nearest"].tolist() if "nearest" in material.table else [""] * len(queries)
    nearest, _ = normal.nearest(queries[rows])
    return [places.get(named[row], int(index)) for row, index in zip(rows, nearest, strict=True)]


def _note_sounds(shown: ShownClips, n_clips: int, gain_db: int, n_wanted: int) -> None:
    """Notes how many clips have a player, which ones, and how loud they are played."""
    n_shown = len(shown.parts)
    why = "" if n_shown >= min(n_wanted, n_clips) else " (the size of the page allows no more)"
    louder = f"{abs(gain_db)} dB {'louder' if gain_db >= 0 else 'quieter'} than recorded"
    shown.notes.append(
        f"{n_shown} of {n_clips} clips can be looked at and listened to{why}: the highest scores, and where labels "
        f"are known the highest normal and the lowest anomalous clips. They are played {louder}, all alike."
    )


def _lay_out(shown: ShownClips, material: Material, bank: FloatArray, queries: FloatArray) -> None:
    """Maps of all clips and training clips, or of as many as are laid out in seconds."""
    rows = _drawn(len(queries), _MOST_ON_MAP)
    indices = _drawn(len(bank), max(_LEAST_TRAINING_ON_MAP, _MOST_ON_MAP - len(rows)))
    own = [material.detector.embed(each) for each in (material.test.subset(rows), material.train.subset(indices))]
    vectors = [part for part in own if part is not None]
    shown.maps = contents.projections(np.concatenate(vectors or [queries[rows], bank[indices]]))
    shown.map_rows = rows.tolist()
    clips = [material.train.clips[i] for i in indices]
    shown.map_training = [(clip.name, clip.domain or "", _condition(clip)) for clip in clips]
    shown.map_of = "the detector's own vectors" if vectors else "mean spectra without their level, 64 mel bands"
    for what, part, every in (("", rows, queries), (" training", indices, bank)):
        if len(part) < len(every):
            shown.notes.append(f"The maps show {len(part)} of {len(every)}{what} clips, drawn at random.")


def _drawn(n: int, most: int) -> npt.NDArray[np.int64]:
    """At most so many of n indices, rising; the same ones every time."""
    return np.sort(np.random.default_rng(0).permutation(n)[:most])


def _numbers(config: Report, name: str, every: list[RunDirectory], scorer: str) -> dict[str, Any] | None:
    """Metrics of the run and its comparisons; None where the labels allow none."""
    own = _by_seed(every, scorer)
    wanted, _ = meant_year(config.runs, name, config.machine, None, config.year)
    year = rule_year(next(iter(own.values())), wanted)
    if year is None:
        log.info("%s: its clips have no labels of both kinds in every section; the page has no metrics", name)
        return None
    comparisons = []
    require_same_clips(own, f"the seeds of {name}", "`score` with all of its seeds")
    if config.members:
        machines = {run.machine for run in every}
        members = {name: own} | {member: _member(config, member, machines) for member in config.members}
        tables = {(member, seed): table for member, by_seed in members.items() for seed, table in by_seed.items()}
        require_same_clips(tables, f"{name} and members={','.join(config.members)}", "name runs of the same data")
        comparisons.append(_compared("runs", members, year))
    if len(own) > 1:
        seeds = {f"seed {seed}": {seed: table} for seed, table in own.items()}
        comparisons.append(_compared("seeds", seeds, year))
    return {
        "year": year,
        "wanted_year": wanted,
        "rule": get_year(year).rule,
        "seeds": [*own],
        **measured(own, year),
        "comparisons": comparisons,
    }


def _compared(title: str, members: Mapping[str, BySeed], year: int) -> dict[str, Any]:
    """Methods, best first, with their paired differences to the first of them: rows of `comparison.ranked`."""
    entries = [Entry.of(name, by_seed, year) for name, by_seed in members.items()]
    reference = entries[0].name
    return {"title": title, "reference": reference, "rows": ranked(entries, reference).to_dict("records")}


def _by_seed(runs: list[RunDirectory], scorer: str) -> dict[int, pd.DataFrame]:
    """Labelled scores of all machines together, by seed."""
    tables: dict[int, list[pd.DataFrame]] = {}
    for run in runs:
        table = run.scores.table(scorer)
        tables.setdefault(run.seed, []).append(table[table["label"] != ""])
    most = max(len(each) for each in tables.values())
    return {seed: pd.concat(each, ignore_index=True) for seed, each in sorted(tables.items()) if len(each) == most}


def _member(config: Report, member: str, machines: set[str]) -> BySeed:
    """Labelled scores of a member, RUN or RUN:SCORER, on the same machines."""
    name, _, scorer = member.partition(":")
    runs = [run for run in find_runs(config.runs, name) if run.machine in machines]
    if missing := machines - {run.machine for run in runs}:
        raise AsdError(f"members={member} has no {min(missing)}; say machine= for those that all runs have")
    return _by_seed(runs, scorer or runs[0].default_scorer())
