"""The fusion study: do several modalities tell more than one, and does it matter how they are joined?

Three fusions of all modalities, and each modality alone, over several seeds, on the synthetic sequences of
`tracks`. The result document is that of founding document 002, with the parts that it names as missing.
"""

from __future__ import annotations

from typing import Any

from asd.core.networks.gated_fusion import FUSIONS
from asd.studies.config import Fusion
from asd.studies.fusion.cell import run_cell
from asd.studies.fusion.tracks import MODALITIES, VERSION
from asd.studies.grid import run_grid


def run(config: Fusion) -> str:
    """Runs what is missing of the study and writes its document; returns what there is to say.

    Raises:
        AsdError: settings under which a cell has nothing to learn from, or that a network refuses.
    """
    from asd.studies.fusion.page import write_report
    from asd.studies.fusion.results import headline, summarise

    folder = config.runs / "fusion"
    results = run_grid(
        cells(config), run_cell, folder, workers=config.workers, device=config.device, label="fusion study"
    )
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for key, result in results.items():
        by_cell.setdefault(key.split("/")[0], []).append(result)
    summary = summarise(by_cell, config.settings(), list(config.seeds))
    write_report(folder, summary)
    return (
        f"{headline(summary)}\nReport: {folder / 'report.md'}, tables in *.csv, all numbers in report.json, "
        f"figures in *.png; a cell's epochs lie in {folder}/<cell>/seed<k>/metrics.jsonl"
    )


def cells(config: Fusion) -> dict[str, dict[str, Any]]:
    """Settings of every experiment by its folder: each fusion of all modalities, and each modality alone."""
    kinds = {fusion: (fusion, MODALITIES) for fusion in FUSIONS} | {
        name: ("gated", (name,)) for name in MODALITIES
    }
    return {
        f"{cell}/seed{seed}": {
            "fusion": fusion,
            "modalities": modalities,
            "seed": seed,
            "sequences": VERSION,
            "study": config.settings(),
        }
        for cell, (fusion, modalities) in kinds.items()
        for seed in config.seeds
    }
