"""What there is to do: one job per machine and seed, its input checked before any long work starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asd.challenge.years import YEARS, get_year
from asd.core.runtime import fingerprint, log, pick_device
from asd.core.storage import fetch, list_names
from asd.data.dataset import Dataset
from asd.data.given import clips_of_files
from asd.data.microphones import NEAR, FrontEnd
from asd.data.recordings import Recordings, check, joined
from asd.data.supplemental import NOTHING, Supplement
from asd.runs import RunDirectory, ScoredData, ScoreFolder
from asd.settings.config import WITHOUT_VECTORS, Run
from asd.settings.config import Supplemental as SupplementalOptions
from asd.settings.parsing import stored_run
from asd.stages.loading import TestData, dataset_of, load_test, load_training
from asd.types import AsdError, Split


@dataclass(frozen=True, slots=True)
class Job:
    """One machine with one seed: checked input and the place for the output."""

    config: Run
    run: RunDirectory
    learn: Recordings | None  # None: nothing is to be learnt
    supplement: Supplement  # what there is to learn from besides
    test: TestData | None  # None: there are no test clips yet
    settings: str  # hash of what decides the model besides data and seed
    data: str  # hash of the training clips, or of those the model there was fitted on

    @property
    def front_end(self) -> FrontEnd:
        """From the microphones of its recordings to one waveform."""
        recordings = self.learn or (self.test and self.test.recordings)
        return recordings.front_end if recordings else NEAR

    @property
    def model_fingerprint(self) -> str:
        """Hash of everything the model depends on."""
        return fingerprint(self.settings, self.data)

    @property
    def test_data(self) -> str:
        """Hash of the test clips."""
        return self.test.fingerprint if self.test is not None else fingerprint([], [])

    @property
    def fingerprint(self) -> str:
        """Hash of everything the scores depend on."""
        return fingerprint(self.settings, self.data, self.config.decision.model_dump(), self.test_data)

    def is_own(self) -> bool:
        """Whether the test clips are the run's own: the same as before, or those where it was trained."""
        known = self.run.scores.data()
        if (known and known.fingerprint == self.test_data) or self.run.is_done(self.fingerprint):
            return True
        trained = self.run.data_root()
        return trained is None or trained.resolve() == self.config.data_root.resolve()

    def score_folder(self) -> ScoreFolder:
        """Where the scores go: those of other recordings never replace those of the run's own test clips."""
        if self.learn is not None or self.is_own():
            return self.run.scores
        return self.run.other_scores(self.config.data_root, self.test_data)

    def scored_data(self) -> ScoredData:
        """The record of what is scored."""
        trained = (
            [clip.section for clip in self.learn.clips]
            if self.learn is not None
            else self.run.fit_facts().get("sections", [])
        )
        clips = self.test.clips if self.test is not None else []
        layout = self.test.layout if self.test is not None else "challenge"
        return ScoredData.of(self.config.data_root, self.test_data, trained, clips, layout)

    def is_foreign(self) -> bool:
        """Whether the place holds a model, or half a training, of another configuration or other clips."""
        if self.learn is None and not self.run.fit_facts():
            return False  # nothing is learnt, and nothing is there to be used
        return self.run.held() not in (None, self.model_fingerprint)


def prepare(config: Run, *, learn: bool, machines: Sequence[str] = (), seeds: Sequence[int] = ()) -> Iterator[Job]:
    """Jobs of a configuration.

    Args:
        config: which machines, seeds and data.
        learn: whether training clips are needed.
        machines: some of its machines; none: all of them.
        seeds: some of its seeds; none: all of them.

    Raises:
        AsdError: an unknown device, year or machine, a recording that cannot be used, or a run of another
            configuration in the way.
    """
    check_options(config)
    given = _weights_hash(config.weights) if config.weights else ""
    dataset = dataset_of(config)
    asked = machines_to_do(config, dataset)
    if not dataset.is_strict:
        config = config.model_copy(update={"machine": asked})  # a run remembers what it was asked for
    machines = machines or asked
    is_joint = config.detector_settings.is_joint
    wanted = {*machines, *(dataset.machines() if is_joint else [])} if learn else set()
    training = {machine: load_training(config, dataset, machine) for machine in sorted(wanted)}
    for machine in machines:
        for sentence in dataset.warnings(machine):
            log.warning(sentence)
        own = training.get(machine)
        others = {other: data for other, data in training.items() if other != machine} if is_joint else {}
        test = None
        if own is None or dataset.has_test(machine):
            test = load_test(config, dataset, machine, own.recordings if own else None)
        for seed in seeds or config.seeds:
            run = RunDirectory.of(config.runs, config.run_name, machine, seed)
            fetch(run.path)
            settings = fingerprint(config.settings(), seed, given)
            if own is None:
                job = Job(config, run, None, NOTHING, test, settings, run.fit_facts().get("data", ""))
            else:
                others_clips = joined([data.recordings for data in others.values()]) if others else None
                hashes = {name: data.fingerprint for name, data in training.items()}
                data = fingerprint(hashes) if others else own.fingerprint
                supplement = own.supplement(seed, others_clips)
                job = Job(config, run, own.recordings, supplement, test, settings, data)
            check_place(job)
            yield job


def stored_job(run: RunDirectory, runs: Path) -> Job:
    """The job of a complete run, as its configuration tells it: training clips, and test clips where there are any.

    Recordings that were confirmed as normal after the training count as training clips.

    Args:
        run: whose configuration.
        runs: folder of all runs, which may have been moved.

    Returns:
        The job.

    Raises:
        AsdError: it has none, or its recordings are not there as they were.
    """
    if not (stored := run.config()):
        raise AsdError(f"{run.path / 'config.yaml'} is missing; train the run again with overwrite=true")
    settings = stored_run(stored, machine=[run.machine], seeds=[run.seed], runs=runs)
    list_names(settings.data_root)
    (job,) = prepare(settings, learn=True)
    files = [run.path / "confirmed" / file["kept"] for change in run.confirmed() for file in change["files"]]
    if not files or job.learn is None:
        return job
    clips = clips_of_files(files, run.machine, Split.TRAIN)
    more = check(clips, sample_rate_hz=job.learn.sample_rate_hz, front_end=job.learn.front_end, resample=True)
    return replace(job, learn=joined([job.learn, more]))


def check_place(job: Job) -> None:
    """Refuses to replace a model of another configuration, or the run's own test clips by those of a copy.

    Raises:
        AsdError: the place is taken, and `overwrite` is not set.
    """
    if job.config.overwrite and job.learn is not None:
        return
    if job.run.model.exists() and job.run.config().get("detector") == job.config.detector:
        job.run.check_version(job.config.detector_version)
    if job.is_foreign():
        raise job.run.in_the_way()
    if job.learn is None or job.test is None or job.is_own():
        return
    root = job.run.data_root()
    own = root and root / job.run.machine
    if own and own.is_dir():
        raise AsdError(
            f"{job.run.path} belongs to {own} and its test clips differ from those in {job.config.data_root}; "
            f"score them beside it with `score data={job.config.data_root}`, or replace them with overwrite=true"
        )


def begin(config: Run, machine: str) -> None:
    """Marks a machine as begun: `evaluate` names it where it is missing.

    Args:
        config: of the run, with its seeds.
        machine: which one; one that is not there is left out.
    """
    if machine in dataset_of(config).machines():
        for seed in config.seeds:
            RunDirectory.of(config.runs, config.run_name, machine, seed).begin(config.stored())


def machines_to_do(config: Run, dataset: Dataset | None = None) -> list[str]:
    """The machines that the options name.

    Args:
        config: the options.
        dataset: their recordings; None: they are looked for.

    Raises:
        AsdError: `all`, and there is none.
    """
    return (dataset or dataset_of(config)).machines() if config.machine == ["all"] else config.machine


def warn_of_other_years(config: Run) -> None:
    """Warns where the folder holds machines of other years and none of the given one.

    One machine of the given year is enough for no warning; machines that are in no catalogue do not count.
    """
    dataset = dataset_of(config)
    if not dataset.is_strict:
        return
    root = config.data_root
    years = {
        machine: [year for year in YEARS if machine in {*get_year(year).dev, *get_year(year).eval}]
        for machine in dataset.machines()
    }
    published = {machine: found for machine, found in years.items() if found}
    if not published or any(config.year in found for found in published.values()):
        return
    machine = min(published, key=lambda name: len(published[name]))  # the one that tells most
    *others, last = map(str, published[machine])
    either = f"{', '.join(others)} or {last}" if others else last
    log.warning(
        "%s holds no machine of %d, but %s of %s: if these are recordings of the challenge, say year=%s",
        *(root, config.year, machine, either, either),
    )


def check_options(config: Run) -> None:
    """Refuses a device that is not there, and options that ask a detector for what it has not.

    Raises:
        AsdError: before anything is read or written.
    """
    pick_device(config.device)
    if config.detector in WITHOUT_VECTORS and (config.residual or config.supplemental.noise == "negatives"):
        word = f"residual={config.residual:g}" if config.residual else "supplemental.noise=negatives"
        raise AsdError(
            f"{word} works on clips as vectors, which detector={config.detector} does not know; leave it out or "
            f"choose another detector"
        )
    if config.detector_settings.is_joint and config.supplemental != SupplementalOptions():
        raise AsdError(
            f"{config.detector}.joint=true learns from all machines and supplemental.* from one; give one of them"
        )


def _weights_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise AsdError(f"weights={path} cannot be read ({error.strerror}); name an existing file") from error
