"""What there is to do: one job per machine and seed, its input checked before any long work starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asd import audio
from asd.challenge import files
from asd.challenge.years import get_year
from asd.config import Run
from asd.core.runtime import fingerprint, log, pick_device
from asd.detectors import REGISTRY
from asd.runs import RunDirectory
from asd.types import AsdError, Domain, Split


@dataclass(frozen=True, slots=True)
class Job:
    """One machine with one seed: checked input and the place for the output."""

    config: Run
    run: RunDirectory
    learn: audio.Recordings | None  # None: nothing is to be learnt
    others: audio.Recordings | None  # training clips of other machines, where the detector learns jointly
    test: audio.Recordings | None  # None: there are no test clips yet
    settings: str  # hash of what decides the model besides data and seed
    data: str  # hash of the training clips, or of those the model there was fitted on
    test_data: str  # hash of the test clips

    @property
    def model_fingerprint(self) -> str:
        """Hash of everything the model depends on."""
        return fingerprint(self.settings, self.data)

    @property
    def fingerprint(self) -> str:
        """Hash of everything the scores depend on."""
        return fingerprint(self.settings, self.data, self.config.decision.model_dump(), self.test_data)

    def is_foreign(self) -> bool:
        """Whether the place holds a model, or half a training, of another configuration or other clips."""
        from asd.core.trainer import interrupted  # brings torch

        if have := self.run.fit_facts():
            return (have.get("settings"), have.get("data")) != (self.settings, self.data)
        return self.learn is not None and interrupted(self.run.path) not in (None, self.model_fingerprint)


def prepare(config: Run, *, learn: bool) -> Iterator[Job]:
    """Jobs of a configuration.

    Args:
        config: which machines, seeds and data.
        learn: whether training clips are needed.

    Raises:
        AsdError: an unknown detector, device, year or machine, a recording that cannot be used, or a run
            of another configuration in the way.
    """
    if config.detector not in REGISTRY:
        raise AsdError(f"detector={config.detector} is unknown; choose one of {', '.join(REGISTRY)}")
    pick_device(config.device)
    root = data_root(config)
    given = _weights_hash(config.weights) if config.weights else ""
    machines = machines_to_do(config)
    every = [*machines, *(files.list_machines(root) if config.is_joint() else [])] if learn else []
    training = {m: _recordings(config, root, m, Split.TRAIN) for m in sorted(set(every))}
    hashes = {machine: _clips_hash(recordings) for machine, recordings in training.items()}
    for machine in machines:
        recordings = training.get(machine)
        foreign = [part for other, part in training.items() if other != machine]
        others = audio.joined(foreign) if config.is_joint() else None
        test = None
        if list((root / machine).glob("*test*")) or not learn:
            test = _recordings(config, root, machine, Split.TEST)
        train_data = fingerprint(hashes) if others else hashes.get(machine, "")
        test_data = _clips_hash(test)
        for seed in config.seeds:
            run = RunDirectory.of(config.runs, config.run_name, machine, seed)
            settings = fingerprint(config.settings(), seed, given)
            data = train_data if recordings else run.fit_facts().get("data", "")
            job = Job(config, run, recordings, others, test, settings, data, test_data)
            if job.is_foreign() and not (config.overwrite and recordings):
                raise AsdError(
                    f"{run.path} was trained with another configuration or on other clips; give the same words "
                    f"again, choose another name=, or train anew with overwrite=true"
                )
            yield job


def data_root(config: Run) -> Path:
    """The folder that holds <machine>/{train,test}: `data=`, or the development set of the year."""
    year = get_year(config.year)
    return config.data or year.dev_root


def machines_to_do(config: Run) -> list[str]:
    """The machines that the words name.

    Raises:
        AsdError: none is named, or `all` and there is none.
    """
    if not config.machine:
        raise AsdError("machine= is empty; name one, several separated by commas, or all")
    return files.list_machines(data_root(config)) if config.machine == ["all"] else config.machine


def _recordings(config: Run, root: Path, machine: str, split: Split) -> audio.Recordings:
    """Checked clips of a machine. A silent training clip is refused, a silent test clip is only named."""
    clips = files.list_clips(root, machine, split)
    recordings = audio.check(
        clips,
        sample_rate_hz=config.sample_rate_hz,
        channel=config.channel,
        least_samples=config.least_samples(),
    )
    silent = audio.silent(recordings)
    if silent and split is Split.TRAIN:
        raise AsdError(
            f"{silent[0].path} is silent (all samples are zero; {len(silent)} of {len(clips)} training clips "
            f"are): a broken recording would teach that silence is normal, remove it"
        )
    for clip in silent:
        log.warning(
            "%s is silent (all samples are zero): it will get a score, but not a meaningful one", clip.path
        )
    domains = {clip.domain for clip in clips}
    for domain in Domain:
        if split is Split.TRAIN and domain not in domains and None not in domains:
            log.warning("%s has no %s training clips: the other domain stands for both", machine, domain)
    return recordings


def _clips_hash(recordings: audio.Recordings | None) -> str:
    """Hash of names and contents: a copy elsewhere is the same data, an edited recording is not."""
    clips = recordings.clips if recordings else ()
    return fingerprint([(clip.name, hashlib.sha256(clip.path.read_bytes()).hexdigest()) for clip in clips])


def _weights_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise AsdError(f"weights={path} cannot be read ({error.strerror}); name an existing file") from error
