"""The digits study: a CNN on the waveform itself learns spoken words, from speakers who are known or who are not.

Every speaker is left out once, and once the first recordings of everybody are; over several seeds. Then it is
looked into what the networks confuse, what their features are worth to other classifiers, and what one of
them hears in a recording, as in founding document 004.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from asd.core.checkpoint import load_into, load_tensors
from asd.core.runtime import pick_device
from asd.studies.config import Digits
from asd.studies.digits.cell import run_cell
from asd.studies.digits.data import KNOWN, Words, load_words
from asd.studies.digits.hearing import hear
from asd.studies.digits.training import build_network
from asd.studies.grid import run_grid
from asd.types import AsdError


def run(config: Digits) -> str:
    """Runs what is missing of the study and writes its document; returns what there is to say.

    Raises:
        AsdError: recordings that cannot be used, an unknown speaker or network.
    """
    from asd.studies.digits.page import write_report
    from asd.studies.digits.results import headline, summarise

    folder = config.runs / "digits" / config.network
    words = load_words(config.data, config.sample_rate_hz, config.duration_s, pick_device("cpu"))
    build_network(config, len(words.classes), seed=0)  # refuses now what every cell would refuse
    wanted = cells(config, words)
    results = run_grid(
        wanted,
        partial(run_cell, data=config.data, device=config.device),
        folder,
        workers=config.workers,
        device=config.device,
        label="digits study",
    )
    found = [{**wanted[key], **result} for key, result in results.items()]
    summary = summarise(found, KNOWN, config.settings(), words.classes, config.chosen_on)
    net = build_network(config, len(words.classes), seed=0)
    path = folder / KNOWN / f"seed{config.seeds[0]}" / "weights.safetensors"
    load_into(net, load_tensors(path)[0], path)
    write_report(folder, summary, hear(net, words, words.split(KNOWN, config.n_known_test)[1]))
    return (
        f"{headline(summary)}\nReport: {folder / 'report.md'}, tables in *.csv, all numbers in report.json, figures "
        f"in *.png; a network's epochs lie in {folder}/<split>/seed<k>/metrics.jsonl"
    )


def cells(config: Digits, words: Words) -> dict[str, dict[str, Any]]:
    """Settings of every experiment by its folder: known speakers, then each speaker left out.

    Raises:
        AsdError: a speaker of whom there are no recordings.
    """
    for name in config.held_out:
        if name not in words.names:
            raise AsdError(
                f"held_out={name} is none of the speakers {', '.join(words.names)} of {config.data}"
            )
    splits = [KNOWN, *(config.held_out or words.names)]
    for split in splits:
        words.split(split, config.n_known_test)
    return {
        f"{split}/seed{seed}": {
            "split": split,
            "seed": seed,
            "recordings": words.fingerprint,
            "study": config.settings(),
        }
        for split in splits
        for seed in config.seeds
    }
