"""The loss study: losses of event detection where classes differ in length and frequency and most frames are silent.

The losses of Imoto, "Sound event detection and scene classification using properties of environmental sounds" (slides,
Doshisha University, 2021), with their hyper-parameters, on a CNN-BiGRU and a CNN-Transformer over several seeds, on
soundscapes of spoken digits whose classes differ in length and in frequency. Every cell goes through the stages
`sed train` and `sed evaluate`. The page compares the order with the published one.
"""

from __future__ import annotations

from typing import Any

from asd.studies.config import Losses
from asd.studies.grid import run_grid
from asd.studies.sed_cell import Cell, cell, run_cell, soundscapes
from asd.types import AsdError

NETWORKS = ["crnn", "transformer"]

# Imoto, 2021, whose losses are sums and ours means over frames and classes. Their GLR weight, 1e-5 with 500
# frames and 25 classes, is 1e-5 x 500 / 25 = 2e-4 on means. They do not give the weight of SAD: 1 on sums is 0.1 on
# means over the 10 classes here. Nor do they give IFL's gamma, which here is 1.
LOSSES: dict[str, dict[str, Any]] = {
    "bce": {"name": "bce"},
    "srl": {"name": "srl", "alpha": 1.0, "beta": 0.3535},
    "ifl": {"name": "ifl", "constant": 500.0, "gamma": 1.0},
    "afl": {"name": "afl", "gamma": 0.0625, "zeta": 1.0},
    "dice": {"name": "dice"},
    "fbtl": {"name": "fbtl", "alpha": 0.6, "beta": 0.4, "gamma": 0.001, "eta": 1.0},
    "glr": {"name": "bce", "graph": 2e-4},
    "sad": {"name": "bce", "activity": 0.1},
}

# What the slides leave open, on the CNN-BiGRU only: a smaller gamma, a GLR that is not 1e-4 of the total.
VARIANTS: dict[str, dict[str, Any]] = {
    "ifl_weak": {"name": "ifl", "constant": 500.0, "gamma": 0.125},
    "glr_strong": {"name": "bce", "graph": 0.1},
}

_RECIPE = {"sample_rate_hz": 8000, "most_events": 4, "least_snr_db": 10.0, "most_snr_db": 30.0}


def run(config: Losses) -> str:
    """Runs what is missing of the study and writes its page; returns it.

    Raises:
        AsdError: an unknown loss, or events that no soundscape can be made of.
    """
    from asd.studies.losses.page import summarise, write_report

    folder = config.runs / "losses"
    data = soundscapes(config, _RECIPE, folder / "soundscapes")
    results = run_grid(cells(config, data), run_cell, folder, config, device=config.device, label="loss study")
    return write_report(folder, summarise(results))


def cells(config: Losses, data: dict[str, Any]) -> dict[str, Cell]:
    """Settings of every training by its folder, <network>/<loss>/seed<k>.

    Args:
        config: of the study.
        data: recipe and folder of the soundscapes.

    Raises:
        AsdError: a loss or network that is not of the study.
    """
    known = LOSSES | VARIANTS
    chosen = config.losses or list(known)
    for what, names, choices in (("losses", chosen, list(known)), ("networks", config.networks, NETWORKS)):
        if unknown := [name for name in names if name not in choices]:
            raise AsdError(f"{what}={unknown[0]} is none of the study's {what} {', '.join(choices)}")
    training = config.model_dump(include={"epochs", "learning_rate", "batch_size"})
    shared = {"teacher": {"method": "none"}, "training": training}
    return {
        f"{network}/{name}/seed{seed}": cell(
            data, seed, config.device, {"network": {"kind": network}, "loss": {"weak": 0.0, **known[name]}, **shared}
        )
        for network in config.networks
        for name in chosen
        if network == "crnn" or name in LOSSES
        for seed in config.seeds
    }
