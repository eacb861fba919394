"""The stages of event detection, a screenful each.

events/, background/ ── make_soundscapes ──► data/<part>/*.wav, <part>.tsv
data/ ── train ──► runs/sed/<name>/seed<k>/: model, scores of validation and test
runs/sed/<name>/ ── evaluate ──► evaluation.{json,md}
any WAVs ── score ──► scores and events of a trained run
runs/sed/*/ ── report ──► what differs between runs
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asd.core.files import atomic, read_json, write_json
from asd.core.runtime import fingerprint, log, pick_device
from asd.core.storage import content_hashes, is_taken, list_names, publish, read_bytes
from asd.evaluation.markdown import write_page
from asd.sed import dataset, soundscapes
from asd.sed.config import Evaluate, MakeSoundscapes, Report, Score, Train
from asd.sed.evaluation import evaluate_run, page_of, summarise
from asd.sed.run import MODELS, find_runs
from asd.sed.sources import backgrounds, list_recordings, split_sources
from asd.sed.tables import split_labels
from asd.sed.training import Models, train_seed, write_predictions
from asd.types import AsdError


def make_soundscapes(config: MakeSoundscapes) -> str:
    """Mixes a data folder; one made with the same options of the same recordings is left as it is."""
    _check_ranges(config)
    recordings = list_recordings(config.events)
    behind = backgrounds(config.background, config.sample_rate_hz)
    paths = [*(recording.path for recording in recordings), *behind.paths]
    sources = fingerprint([path.parts[-2:] for path in paths], content_hashes(paths))
    words = config.model_dump(mode="json", exclude={"out", "overwrite"}) | {"sources": sources}
    about = config.out / "soundscapes.json"
    if is_taken(about) and read_json(about, "choose another out=", read_bytes).get("words") == words:
        return f"{config.out} is there already, made with the same options of the same recordings"
    _refuse_loss(config.out, about, paths)
    if is_taken(config.out) and not config.overwrite:
        raise AsdError(f"out={config.out} holds something else; choose another place, or overwrite=true")
    classes = _classes(config, {recording.label for recording in recordings})
    recordings = [recording for recording in recordings if recording.label in classes]
    by_group = split_sources(recordings, config.seed)
    kinds = soundscapes.unequal(classes, config)
    counts = {part: n for part in soundscapes.PARTS if (n := getattr(config, part.removeprefix("train_")))}
    with atomic(config.out) as folder:
        folder.mkdir(parents=True)
        facts = {
            part: soundscapes.write_part(folder, part, n, config, kinds, by_group[soundscapes.group_of(part)], behind)
            for part, n in counts.items()
        }
        write_json(folder / about.name, {"words": words, "classes": kinds, "parts": facts})
    publish(config.out, last=about.name)
    listing = ", ".join(f"{n} {part}" for part, n in counts.items())
    return (
        f"{config.out}: {listing} clips of {config.duration_s:g} s at {config.sample_rate_hz} Hz, classes "
        f"{', '.join(classes)}\nnext: python -m asd sed train data={config.out} "
        f"features.sample_rate_hz={config.sample_rate_hz}"
    )


def train(config: Train) -> str:
    """Learns events, a training per seed, tunes on validation, and scores validation and test."""
    device = pick_device(config.device)
    corpus = dataset.read_corpus(config, device)
    log.info("%d training clips, classes %s", len(corpus.clips), ", ".join(corpus.classes))
    for seed in config.seeds:
        train_seed(config, corpus, seed, device)
    place = config.runs / config.name
    return (
        f"{place}: trained with seeds {', '.join(map(str, config.seeds))}; scores of "
        f"{' and '.join(part.name for part in corpus.scored)} are in its scores/\n"
        f"next: python -m asd sed evaluate name={config.name}"
        + ("" if config.runs == Path("runs/sed") else f" runs={config.runs}")
    )


def score(config: Score) -> str:
    """Finds events in a folder of recordings with the networks of a trained run."""
    device = pick_device(config.device)
    list_names(config.audio)
    places = []
    for run in find_runs(config.runs, config.name, config.seeds):
        settings = run.settings()
        recordings = dataset.list_wavs(config.audio, settings.features.sample_rate_hz)
        part = dataset.Part(run.part_name(config.audio, recordings.fingerprint, settings.data), recordings)
        with run.alone():
            write_predictions(settings, Models.load(settings, run, device), part, run)
        publish(run.path)
        places += [str(run.path / "events" / model / f"{part.name}.tsv") for model in MODELS]
    return "events found:\n" + "\n".join(f"  {place}" for place in places)


def evaluate(config: Evaluate) -> str:
    """Measures student and teacher of every seed on a part, by the same code."""
    runs = find_runs(config.runs, config.name)
    by_seed = {run.seed: evaluate_run(run, config.part, with_events=config.events) for run in runs}
    summary = {"name": config.name, "part": config.part, **summarise(by_seed)}
    folder, name = config.runs / config.name, f"evaluation_{config.part}"
    text = write_page(folder, name, *page_of(summary), numbers=summary)
    return f"{text}\n{folder / name}.json and .md"


def report(config: Report) -> str:
    """Compares runs: tables, deltas, intervals, reliability, findings."""
    from asd.sed.report import compare  # with matplotlib

    return compare(config)


def _refuse_loss(out: Path, about: Path, sources: Sequence[Path]) -> None:
    """Raises AsdError where a folder that is to be replaced holds more than soundscapes: it would be lost."""
    own = {about.name, *soundscapes.PARTS, *(f"{part}.tsv" for part in soundscapes.PARTS)} if is_taken(about) else set()
    lost = [path for path in sources if path.resolve().is_relative_to(out.resolve())]
    lost += [path for path in (sorted(out.iterdir()) if out.is_dir() else ()) if path.name not in own]
    if lost:
        raise AsdError(f"{lost[0]} is no soundscape that was made here, and would be lost; choose another out=")


def _check_ranges(config: MakeSoundscapes) -> None:
    for what in ("events", "snr_db"):
        least, most = getattr(config, f"least_{what}"), getattr(config, f"most_{what}")
        if least > most:
            raise AsdError(f"least_{what}={least:g} is more than most_{what}={most:g}; exchange them")


def _classes(config: MakeSoundscapes, known: set[str]) -> list[str]:
    """Those asked for, else all; labels may have commas in them."""
    classes = split_labels(",".join(config.classes), known) or sorted(known)
    if unknown := [name for name in classes if name not in known]:
        raise AsdError(
            f"classes={unknown[0]} has no recording in {config.events}; there are {', '.join(sorted(known))}"
        )
    return list(dict.fromkeys(classes))
