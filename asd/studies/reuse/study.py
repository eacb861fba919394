"""The study of reuse: what the networks and losses of the founding documents do for an anomaly detector.

Each is switched on by words of `train`, and measured with and without through the real stages: on recorded machines,
the same for every seed, and on synthetic ones, others for every seed. No default was chosen by the numbers of a
single machine: what does not help across them stays off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from asd.stages.jobs import Job
from asd.studies.config import Reuse
from asd.studies.grid import Result, run_grid
from asd.types import AsdError

YEAR = 2025  # whose rule is measured by
SCORERS = ("knn", "mahalanobis")

_MLP, _GATED = "embedding.encoder=bottleneck", "embedding.encoder=gated"
_HEAD = "embedding.attribute_head="


class Method(NamedTuple):
    """Words of `train`, and the method that is the same without what they switch on."""

    words: tuple[str, ...]
    without: str | None


METHODS = {
    "bottleneck": Method((_MLP,), None),
    "raw_wave": Method(("embedding.encoder=raw_wave", "embedding.width=8"), "bottleneck"),
    "gated": Method((_GATED, "embedding.modalities=log_mel,spectrum"), "bottleneck"),
    "gated_attribute": Method((_GATED,), "gated"),
    "head_bce": Method((_MLP, f"{_HEAD}bce"), "bottleneck"),
    "head_afl": Method((_MLP, f"{_HEAD}asymmetric_focal"), "head_bce"),
    "head_ifl": Method((_MLP, f"{_HEAD}inverse_frequency"), "head_bce"),
    "head_glr": Method((_MLP, f"{_HEAD}bce", "embedding.co_occurrence=0.1"), "head_bce"),
    "ema": Method((_MLP, "embedding.ema_decay=0.99"), "bottleneck"),
    "activity": Method((_MLP, "embedding.activity=true"), "bottleneck"),
}


def run(config: Reuse) -> str:
    """Runs what is missing of the study and writes its tables and its figure; returns what there is to say.

    Raises:
        AsdError: an unknown method, or what a cell raised.
    """
    from asd.studies.reuse.page import write_report

    folder = config.runs / "reuse"
    results = run_grid(
        cells(config), run_cell, folder, workers=config.workers, device=config.device, label="reuse study"
    )
    return write_report(folder, results, {name: method.without for name, method in METHODS.items()})


def cells(config: Reuse) -> dict[str, dict[str, Any]]:
    """Settings of every training by its folder, <recorded or synthetic>/<method>/seed<k>.

    Raises:
        AsdError: a method that is not of the study.
    """
    chosen = config.methods or list(METHODS)
    if unknown := [name for name in chosen if name not in METHODS]:
        raise AsdError(f"methods={unknown[0]} is none of the study's methods {', '.join(METHODS)}")
    shared = {"device": config.device, "epochs": config.epochs, "segment_samples": config.segment_samples}
    return {
        f"{kind}/{name}/seed{seed}": {
            "machines": machines,
            "words": list(METHODS[name].words),
            "seed": seed,
            **shared,
        }
        for kind, machines in (("recorded", str(config.data)), ("synthetic", config.machines()))
        for name in chosen
        for seed in config.seeds
    }


def run_cell(settings: dict[str, Any], folder: Path) -> Result:
    """Trains on one set of machines and scores them.

    Returns:
        {"official": {scorer: per cent}, "machines": {scorer: {machine: per cent}}, "seconds" of one machine,
        "listening": {machine: {"told", "not told": {modality: {"gate", "share"}}}} where fusion is gated}.
    """
    import numpy as np
    import pandas as pd

    from asd.metrics import evaluate_table
    from asd.pipeline import train
    from asd.runs import read_json
    from asd.settings.config import Run
    from asd.settings.words import parse

    place = folder.parents[2] / "runs" / folder.parents[1].name / folder.name
    config = parse(
        Run,
        [
            *("detector=embedding", f"embedding.backends={','.join(SCORERS)}"),
            *(f"embedding.{name}={settings[name]}" for name in ("epochs", "segment_samples")),
            *settings["words"],
            *(f"seed={settings['seed']}", f"device={settings['device']}", f"data={_data(settings, place)}"),
            *(f"runs={place}", f"name={folder.parent.name}", f"year={YEAR}", "overwrite=true"),
        ],
    )
    runs = train(config)
    tables = {scorer: {run.machine: run.table(scorer) for run in runs} for scorer in SCORERS}

    def score(table: pd.DataFrame) -> float:
        return 100.0 * float(evaluate_table(table, YEAR)["official_score"])

    return {
        "official": {s: score(pd.concat(each.values(), ignore_index=True)) for s, each in tables.items()},
        "machines": {s: {name: score(table) for name, table in each.items()} for s, each in tables.items()},
        "seconds": float(np.mean([read_json(run.path / "DONE")["seconds"] for run in runs])),
        "listening": _listening(config) if config.embedding.encoder == "gated" else {},
    }


def _data(settings: dict[str, Any], place: Path) -> str:
    """Folder of the machines; synthetic ones are made by the cell's seed."""
    if isinstance(settings["machines"], str):
        return settings["machines"]
    from asd.synthetic import make_machines

    make_machines(place / "data", **settings["machines"], seed=settings["seed"])
    return str(place / "data")


def _listening(config: Any) -> Result:
    """Gates and shares of the modalities by machine, over its training clips, with attributes told and not."""
    from asd.detectors.embedding import Embedding
    from asd.stages.fitting import fitted
    from asd.stages.jobs import prepare

    found = {}
    for job in prepare(config, learn=True):
        detector = fitted(job)
        assert isinstance(detector, Embedding)
        found[job.run.machine] = _of_clips(detector.encoder, job)
    return found


def _of_clips(encoder: Any, job: Job) -> Result:
    import torch

    from asd.detectors.encoders.gated import Gated
    from asd.detectors.encoders.labels import attribute_codes
    from asd.features.waveforms import ResidentWaveforms

    assert isinstance(encoder, Gated)
    assert job.learn is not None
    encoder.eval()
    device = next(encoder.parameters()).device
    waveforms = ResidentWaveforms(job.learn, device, 2**32)
    clips = torch.arange(len(job.learn), device=device)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        spectra = encoder.spectra(waveforms.random_segments(clips, encoder.segment_samples, generator))
        codes = torch.from_numpy(attribute_codes(job.learn.clips)).to(device)
        by_told = {"not told": encoder.listening(spectra)}
        if "attribute" in encoder.modalities:
            by_told["told"] = encoder.listening([*spectra, codes])
    return {
        told: {
            name: {"gate": float(gates[:, i].mean()), "share": float(shares[:, i].mean())}
            for i, name in enumerate(encoder.modalities)
        }
        for told, (gates, shares) in by_told.items()
    }
