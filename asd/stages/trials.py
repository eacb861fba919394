"""Configurations to try: a space of options, the draws from it, and one trial of a configuration on all machines."""

from __future__ import annotations

import itertools
import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asd.core.files import alone, of_kind, read_json, read_yaml, write_json
from asd.core.runtime import fingerprint
from asd.core.storage import publish_files, read_bytes
from asd.detectors import REGISTRY, detector_class
from asd.detectors.encoders.recipe import FAULTS, TRAINED
from asd.evaluation.labelling import labelled_scores
from asd.metrics import evaluate_table
from asd.options import Execution
from asd.places import mirrored, spelled
from asd.settings.config import Run
from asd.settings.parsing import full_names, parse
from asd.settings.stages import DEFAULT_DETECTOR
from asd.types import AsdError

Options = dict[str, Any]  # option of train -> value
Result = dict[str, Any]  # of a trial: what its file in results/ holds
_LINES = "; write lines such as statistics.backend: [knn, gaussian]"
_RANGE = {"low", "high", "log", "step"}
_SHARED = {  # by all configurations
    "data", "normal", "abnormal", "machine", "year", "seed", "seeds", "name", "runs", "device", "weights", "track",
    "overwrite", *Execution.model_fields,
}  # fmt: skip
_NO_SCORE = {"decision", "held_out", "keep_going", "layout"}  # of none of their values a clip is scored better
_MOST = 10_000  # configurations of a grid
_LARGEST = 2**53  # of the numbers of a range; also refuses infinity, and what is no number (NaN)
_MOST_STEPS = 1_000_000  # of a range that are no whole numbers
_DECIMALS = 12  # of a number on a step: 0.1 + 0.2 is 0.3
COMPLETE = "complete"  # state of a trial on all machines
FAILED = "failed: "  # how the state of one begins that could not be tried


@dataclass(frozen=True)
class OptionValues:
    """The values that an option may take: one of several, or any number of a range."""

    values: Sequence[Any] = ()  # single ones, or the steps of a range; () for a range without steps
    low: float = 0  # lowest of a range
    high: float = 0  # highest of it
    log: bool = False  # uniform in the logarithm

    def draw(self, rng: random.Random) -> Any:
        """A value by chance."""
        if self.values:
            return self.values[rng.randrange(len(self.values))]
        is_whole = isinstance(self.low, int) and isinstance(self.high, int)
        if self.log:
            value = float(self.low * (self.high / self.low) ** rng.random())
        else:
            value = rng.uniform(self.low - 0.5 * is_whole, self.high + 0.499 * is_whole)
        return round(value) if is_whole else value

    def distribution(self) -> Any:
        """What Optuna draws from: positions of values, or numbers of a range."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.values:
            last = len(self.values) - 1
            return IntDistribution(0, last) if self.low < self.high else CategoricalDistribution(range(last + 1))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def drawn(self, parameter: Any) -> Any:
        """The value of what Optuna drew."""
        return self.values[parameter] if self.values else parameter

    def parameter(self, value: Any) -> Any:
        """What Optuna would have drawn for a value; `ValueError` where it is none of the values."""
        return self.values.index(value) if self.values else value


Space = dict[str, OptionValues]


def read_space(path: Path) -> Space:
    """The space of a YAML file: option -> list of values, {low, high, step, log}, or one value that is fixed.

    `AsdError` where it holds something else, an option that `train` does not have or that all configurations share, or
    an option or one of its values twice.
    """
    if not (choices := list(_choices(path, read_yaml(path, "space=", _LINES, read_bytes)))):
        raise AsdError(f"space={path} holds no options{_LINES}")
    space = dict(choices)
    if given := sorted(_SHARED & space.keys()):
        raise AsdError(
            f"space={path}: {given[0]} is the same for all configurations of a sweep; leave it out, or give it to sweep"
        )
    detectors = (space["detector"].values if "detector" in space else ()) or (DEFAULT_DETECTOR,)
    for detector in detectors:
        try:
            _check(choices, str(detector))
        except AsdError as error:
            which = f" (detector={detector})" if len(detectors) > 1 else ""
            raise AsdError(f"space={path}{which}: {error}") from error
    return space


def _check(choices: Sequence[tuple[str, OptionValues]], detector: str) -> None:
    """Raises AsdError for what `train` would not take of the options with one of the detectors of the space."""
    names = full_names([key for key, _ in choices], detector)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise AsdError(f"it gives {twice[0]} twice; keep one")
    values = {key: (choice.low, choice.high) if choice.low < choice.high else choice.values for key, choice in choices}
    first = {key: some[0] for key, some in values.items()} | {"detector": detector}  # that others may need to fit
    for name, (key, choice) in zip(names, choices, strict=True):
        if name.split(".")[0] in _NO_SCORE and len(choice.values) != 1:
            raise AsdError(f"no value of {name} makes scores better; give it one value, or leave it out")
        _check_values(key, values[key], {} if key == "detector" else first)


def _check_values(key: str, values: Sequence[Any], first: Options) -> None:
    """Raises AsdError for a value that does not fit, and for two that are the same to `train`, such as 1 and "1"."""
    meant = set()
    for value in values:
        run = parse(Run, [], {**first, key: value})
        run.detector_settings.check_names()
        meaning = fingerprint(run.model_dump(mode="json"))
        if meaning in meant:
            raise AsdError(f"{key} has {value} twice; keep one")
        meant.add(meaning)


def _choices(path: Path, content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, OptionValues]]:
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and not {"low", "high"} <= set(value):
            yield from _choices(path, value, f"{key}.")
        elif isinstance(value, Mapping):
            yield key, _range(path, key, value)
        elif isinstance(value, list) and not value:
            raise AsdError(f"space={path}: {key} has no values; give some, or leave it out")
        else:
            yield key, OptionValues(tuple(value) if isinstance(value, list) else (value,))


def _number(value: Any) -> Any:
    """YAML 1.1 takes 1e-4, which has no point, for a word."""
    return float(value) if re.fullmatch(r"[-+]?\d+e[-+]?\d+", str(value), re.IGNORECASE) else value


def _range(path: Path, key: str, value: Mapping[str, Any]) -> OptionValues:
    low, high, step = numbers = [_number(n) for n in (value["low"], value["high"], value.get("step", 1))]
    is_number = all(isinstance(n, (int, float)) and not isinstance(n, bool) and abs(n) < _LARGEST for n in numbers)
    is_known = set(value) <= _RANGE and isinstance(value.get("log", False), bool)
    if not is_known or not is_number or not low < high or step <= 0:
        raise AsdError(f"space={path}: {key} is no range; write {{low: 1, high: 9}}, with step: or log: true")
    if value.get("log") and (low <= 0 or "step" in value):
        raise AsdError(f"space={path}: {key} has log: true, which takes low above 0 and no step")
    is_whole = isinstance(low, int) and isinstance(high, int)
    if is_whole and step % 1:
        raise AsdError(f"space={path}: {key} is a range of whole numbers, which step={step} leaves; write low: {low}.0")
    steps: Sequence[Any] = ()
    if "step" in value and is_whole:
        steps = range(low, high + 1, int(step))
    elif "step" in value and (high - low) / step > _MOST_STEPS:
        raise AsdError(f"space={path}: {key} has more than {_MOST_STEPS:,} steps; take a larger step=, or none")
    elif "step" in value:
        steps = [round(low + k * step, _DECIMALS) for k in range(int((high - low) / step + 1e-9) + 1)]
    return OptionValues(steps, low, high, bool(value.get("log")))


def grid(space: Space) -> list[Options]:
    """All combinations; `AsdError` where they are too many, or a range without a step is among the values."""
    for key, choice in space.items():
        if not choice.values:
            raise AsdError(f"{key} is a range without step=, and a grid takes none; list its values, or use random")
    if (count := math.prod(len(choice.values) for choice in space.values())) > _MOST:
        raise AsdError(
            f"the grid has {count:,} configurations and may have {_MOST:,}; list fewer values, or draw some with "
            f"method=random or method=optuna and trials="
        )
    every = itertools.product(*(choice.values for choice in space.values()))
    return [dict(zip(space, values, strict=True)) for values in every]


def draws(space: Space, n: int, seed: int) -> list[Options]:
    """Configurations by chance, none of them twice; fewer where the space has no more."""
    rng, found = random.Random(seed), {}
    for _ in range(20 * n):
        options = {key: choice.draw(rng) for key, choice in space.items()}
        found[fingerprint(options)] = options
        if len(found) == n:
            break
    return list(found.values())


@dataclass(frozen=True)
class Trial:
    """A configuration to be tried."""

    options: Options  # of `train`
    shared: Options  # options of `train` that all trials have: data, year, seeds, device
    machines: tuple[str, ...]  # to try it on, in this order
    place: str  # of the sweep, as every computer knows it
    recordings: str  # their hash

    @property
    def runs(self) -> Path:
        """Folder of the trained runs of all trials."""
        return mirrored(self.place) / "trials"

    @property
    def results(self) -> Path:
        """Folder of the results of all trials."""
        return mirrored(self.place) / "results"

    @property
    def key(self) -> str:
        """Its name: a hash of all that its result depends on."""
        options = {**self.shared, **self.options}
        named = {str(options[key]) for key in ("detector", "embedding.encoder", "encoder") if key in options}
        code = parse(Run, [], options).own_code if named - {*REGISTRY, FAULTS, *TRAINED} else ""
        version = detector_class(str(options.get("detector", DEFAULT_DETECTOR))).version
        known = [code, version] if version > 1 else [code]
        return fingerprint(self.options, self.shared, self.machines, self.recordings, *known)

    @property
    def file(self) -> Path:
        """Of its result."""
        return self.results / f"{self.key}.json"

    def stored(self) -> Result:
        """Its result, which may have ended early; {} where there is none."""
        result, like = read_json(self.file), failure(self.options, "")
        if result and (wrong := [key for key, value in like.items() if not of_kind(result.get(key, ...), value)]):
            raise AsdError(f"{self.file} is damaged (no {min(wrong)}); remove it and run the same command again")
        return result

    def known(self) -> Result:
        """Its result; {} where it was not tried on all machines."""
        result = self.stored()
        return result if result.get("state") == COMPLETE else {}

    def tried(self, falls_behind: Callable[[Sequence[float]], bool] = lambda _: False, number: int = -1) -> Result:
        """Trains it machine by machine, and writes down what came of it.

        It ends early where `falls_behind` of the official scores of the first machine, of the first two, ... says so;
        `number` is that of the trial in a search that goes by what was tried before.
        """
        from asd.pipeline import train

        started_s, so_far, each = time.perf_counter(), [], {}
        for n, machine in enumerate(self.machines, 1):
            about = {"runs": spelled(str(self.runs)), "name": self.key, "machine": [machine]}
            train(parse(Run, [], {**self.shared, **self.options, **about}))
            each[machine] = self._official([machine])
            so_far.append(self._official(self.machines[:n]))
            if n < len(self.machines) and falls_behind(so_far):
                break
        state = COMPLETE if len(each) == len(self.machines) else "ended early"
        result = {"options": self.options, "score": so_far[-1], "state": state, "so_far": so_far, "machines": each}
        return self._noted(result | {"number": number, "seconds": time.perf_counter() - started_s})

    def failed(self, why: str, number: int) -> Result:
        """Writes down why it could not be tried, so that a search does not try it again and again."""
        return self._noted(failure(self.options, why, number))

    def _noted(self, result: Result) -> Result:
        write_json(self.file, result)
        publish_files(self.file)
        return result

    def _official(self, machines: Sequence[str]) -> float:
        """Official score of some machines that are done, the mean over seeds."""
        found = labelled_scores(self.runs, self.key, self.shared["year"], machines)
        tables = found.tables[found.default].values()
        return float(np.mean([evaluate_table(table, self.shared["year"])["official_score"] for table in tables]))


def failure(options: Options, why: str, number: int = -1) -> Result:
    """The result of a configuration that could not be tried."""
    nothing: Result = {"score": None, "so_far": [], "machines": {}, "seconds": None}
    return {"options": options, "state": f"{FAILED}{why}", "number": number, **nothing}


def run_trial(trial: Trial) -> Result:
    """The result of a trial, computed where it is not known yet."""
    with alone(trial.file):  # another sweep in this folder may try the same configuration
        return trial.known() or trial.tried()
