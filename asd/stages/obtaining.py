"""The inside of `data` and `data-check`: which archives of a year, fetched and unpacked; what lies there whole."""

from __future__ import annotations

import difflib
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from asd.challenge.download import OnBytes, Remote, Sources, download
from asd.challenge.files import attribute_gaps
from asd.challenge.ground_truth import read_ground_truth, without_labels
from asd.challenge.installed import UNPACKING, Finding, inspect, install_machine, install_truth, recordings
from asd.challenge.web import Patience
from asd.challenge.years import Archive, Part, Repository, Year, get_year
from asd.core.files import alone
from asd.core.runtime import log, progress
from asd.core.storage import list_names, publish_files, publish_recordings
from asd.data.recordings import check
from asd.places import address_of
from asd.settings.stages import Data, DataCheck
from asd.types import AsdError, Clip, Split, failures

TRUTH = "ground truth"
_PUBLISHING = threading.Lock()  # a machine at an address is unpacked here and gone before the next one
_PARTS: dict[str, tuple[Part, ...]] = {
    "dev": ("dev",),
    "train": ("eval_train",),
    "eval": ("eval_test",),
    "all": ("dev", "eval_train", "eval_test"),
}


class Target(NamedTuple):
    """One published file, and the folder that is made of it."""

    part: Part | None  # None: the ground truth
    machine: str
    source: Archive | Repository
    folder: Path

    @property
    def title(self) -> str:
        """Its name in sentences."""
        return f"{self.machine} {self.part}" if self.part else TRUTH


@dataclass(frozen=True)
class Inventory:
    """What lies there, and whether anything is wrong with it."""

    findings: list[Finding]

    @property
    def defects(self) -> list[Finding]:
        """Parts that are missing or damaged."""
        return [finding for finding in self.findings if not finding.is_good]


def data(config: Data) -> list[Target]:
    """Fetches and unpacks what is not there yet; returns everything that now is.

    `AsdError` where one of them could not be had; with `keep_going`, after all the others.
    """
    year = get_year(config.year)
    targets = _targets(config, year)
    with _alone(config.data or year.folder):
        _list_names(targets)
        failed: dict[Target, AsdError] = {}
        missing: list[Target] = []
        for target in targets:
            with _noted(failed, target, config):
                missing += [] if _is_there(target, year, config) else [target]
        failed |= _fetch_all(missing, year, config)
    if failed:
        done = ", ".join(target.title for target in targets if target not in failed) or "none"
        raise AsdError(failures([f"{target.title} ({error})" for target, error in failed.items()], f"done: {done}"))
    return targets


def data_check(config: DataCheck) -> Inventory:
    """Compares what lies there with what was unpacked and with the catalogue, and reads the recordings."""
    year = get_year(config.year)
    found, targets = [], _targets(config, year)
    _list_names(targets)
    for target in progress(targets, "checking"):
        finding = _inspect(target, year, quick=config.quick)
        if target.part and (finding.n_clips or finding.unusable):
            for sentence in attribute_gaps(target.folder.parent, target.machine):
                log.warning(sentence)
        found.append(finding)
    return Inventory(found)


def recording_defects(path: Path, year: Year) -> Iterator[str]:
    """A sentence on a file that is no recording of the year's rate and channels."""
    try:
        (sound,) = check([Clip(path, "", "", Split.TEST)], sample_rate_hz=year.sample_rate_hz).sounds
    except AsdError as error:
        yield str(error)
        return
    if sound.n_channels != year.channels:
        channels = "1 channel" if sound.n_channels == 1 else f"{sound.n_channels} channels"
        yield f"{path} has {channels}, not {year.channels}; check that it is of that year, or copy it again"


def _targets(config: Data | DataCheck, year: Year) -> list[Target]:
    """The published files that the options name; `AsdError` where the year or the part has no such machine."""
    place = config.data or year.folder
    published: dict[Part, Path] = {"dev": year.dev_root, "eval_train": year.eval_root, "eval_test": year.eval_root}
    roots = {part: place / root.relative_to(year.folder) for part, root in published.items()}
    known = {part: list(year.sections(part)) for part in _PARTS[config.part]}
    names = list(dict.fromkeys(name for machines in known.values() for name in machines))
    wanted = names if config.machine == ["all"] else config.machine
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name.lower(), [other.lower() for other in names], n=1, cutoff=0.5)
            hint = "".join(f"did you mean {other}? " for other in names if near == [other.lower()])
            raise AsdError(
                f"machine={name!r} is not in part={config.part} of {year.year}: {hint}It has {', '.join(names)}"
            )
    targets = [
        Target(part, machine, year.archive(part, machine), roots[part] / machine)
        for part, machines in known.items()
        for machine in machines
        if machine in wanted
    ]
    if "eval_test" in known:
        truth = place / year.truth_root.relative_to(year.folder)
        targets.append(Target(None, "", year.truth, truth))
    return targets


def _list_names(targets: Sequence[Target]) -> None:
    for folder in {target.folder for target in targets}:
        list_names(folder, is_new=True)


def _inspect(target: Target, year: Year, *, quick: bool) -> Finding:
    """What lies there; unless `quick`, it is damaged where a recording of what seems good cannot be used."""
    if target.part:
        finding = inspect(target.folder.parent, target.machine, target.part, year, quick=quick)
        paths = [] if quick or not finding.is_good else recordings(target.folder, target.part)
        if not (sentences := [sentence for path in paths for sentence in recording_defects(path, year)]):
            return finding
        n_usable, about = len(paths) - len(sentences), f"{len(sentences)} of {len(paths)} recordings cannot be used"
        return replace(finding, state="damaged", n_clips=n_usable, about=about, unusable=tuple(sentences))
    if not target.folder.exists():
        return Finding("", TRUTH, "missing", 0)
    try:
        truth = read_ground_truth(target.folder, year)
    except AsdError as error:
        return Finding("", TRUTH, "damaged", 0, str(error))
    lacking = without_labels(truth, year)
    about = f"no labels of {', '.join(lacking)}, or not of every section" if lacking else ""
    return Finding("", TRUTH, "present", sum(map(len, truth.values())), about)


def _is_there(target: Target, year: Year, config: Data) -> bool:
    """Whether there is nothing to do; `AsdError` where clips that were put there by hand are in the way."""
    if config.overwrite:
        return False
    finding = _inspect(target, year, quick=True)
    if finding.state == "other year" or (finding.state == "missing" and finding.n_clips):
        raise AsdError(
            f"{target.folder} holds {finding.n_clips} clips that `data` has not put there and that are not "
            f"{target.title} of {year.year} ({finding.about}): move them away, or say overwrite=true"
        )
    if finding.state == "by hand":
        log.warning("%s was put there by hand and is taken as it is; overwrite=true fetches it", target.title)
    elif finding.state not in ("present", "missing"):
        log.warning("%s is %s (%s): fetched anew", target.title, finding.state, finding.about)
    return finding.is_good


def _fetch_all(targets: Sequence[Target], year: Year, config: Data) -> dict[Target, AsdError]:
    """Fetches and unpacks several files at a time; returns what failed."""
    stop = threading.Event()
    patience = Patience(sleep=stop.wait)
    sources = Sources(config.archive, config.evaluators, patience)
    failed: dict[Target, AsdError] = {}
    remotes: dict[Target, Remote] = {}
    for target in targets:
        with _noted(failed, target, config):
            remotes[target] = sources.find(target.source)
    total_bytes = sum(remote.size_bytes or 0 for remote in remotes.values())
    is_silent = not sys.stderr.isatty()
    bar = tqdm(total=total_bytes, desc="fetching", unit="B", unit_scale=True, leave=False, disable=is_silent)

    def on_bytes(n_bytes: int) -> None:
        if stop.is_set():
            raise CancelledError  # another download has failed, or the user has had enough
        bar.update(n_bytes)

    with bar, ThreadPoolExecutor(config.workers) as pool:
        try:
            futures = {
                pool.submit(_fetch, target, remote, year, config, patience, on_bytes): target
                for target, remote in remotes.items()
            }
            for future in as_completed(futures):
                with _noted(failed, target := futures[future], config):
                    future.result()
                    log.info("%s is there: %s", target.title, target.folder)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return failed


@contextmanager
def _noted(failed: dict[Target, AsdError], target: Target, config: Data) -> Iterator[None]:
    """Remembers a failure, where that shall not stop the others."""
    try:
        yield
    except AsdError as error:
        if not config.keep_going:
            raise
        log.error("%s: %s", target.title, error)
        failed[target] = error


def _fetch(target: Target, remote: Remote, year: Year, config: Data, patience: Patience, on_bytes: OnBytes) -> None:
    path = (config.data or year.folder) / "archives" / remote.name
    download(remote, path, patience, on_bytes)
    on_bytes(0)  # the last moment to stop
    with _PUBLISHING if address_of(path) else nullcontext():
        if target.part and isinstance(target.source, Archive):
            install_machine(path, target.folder, target.part, target.source, remote.md5)
        else:
            install_truth(path, target.folder, year)
        publish_recordings(target.folder)
    if config.keep:
        publish_files(path)
    if address_of(path) or not config.keep:
        path.unlink()


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Keeps a second command out of the folder; removes what a killed one was unpacking there."""
    with alone(place / "archives", busy=f"another data stage works in {place}: wait for it, or stop it first"):
        _clear(place)
        try:
            yield
        finally:
            _clear(place)


def _clear(place: Path) -> None:
    for pattern in (f"*/{UNPACKING}", f"*/raw/{UNPACKING}"):
        for left in place.glob(pattern):
            shutil.rmtree(left)
