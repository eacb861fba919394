"""Jobs: one per machine and seed, whose recordings are listed, read and checked before any long work."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from asd.core.files import read_json
from asd.core.runtime import file_hash, fingerprint, log, pick_device
from asd.core.storage import fetch
from asd.data import remarks
from asd.data.dataset import ChallengeData, Dataset, OwnData, open_data
from asd.data.given import given_data
from asd.data.recordings import Recordings, Refused, check, defects, joined
from asd.data.supplemental import NOTHING, Supplement, SupplementalPolicy
from asd.detectors.windowed import cut_long_recordings
from asd.runs import RunDirectory, ScoreFolder
from asd.settings.config import Run
from asd.types import NEAR, AsdError, Clip, Domain, FrontEnd, Split, named

FRONT_END_FILE = "front_end.json"  # in the folder of a model: the front end that it was trained with
RECORDED_FILE = "recorded.json"  # the same of `data.remarks.facts_of` of the training clips


@dataclass(frozen=True)
class TrainingData:
    """Recordings that a machine's detector learns from: training clips, and supplemental ones that are in use."""

    recordings: Recordings
    supplemental: Recordings | None

    @property
    def fingerprint(self) -> str:
        """Hash of all of it."""
        return fingerprint([part.fingerprint for part in (self.recordings, self.supplemental) if part is not None])


@dataclass(frozen=True)
class TestData:
    """Test clips, those of them that cannot be used and are left out, and the layout of their folder."""

    recordings: Recordings
    refused: tuple[Refused, ...]
    layout: str

    @property
    def clips(self) -> list[Clip]:
        """All test clips, usable or not."""
        return [*self.recordings.clips, *(clip for clip, _ in self.refused)]

    @property
    def fingerprint(self) -> str:
        """Hash of the recordings, and of the names of those that cannot be used."""
        return fingerprint([self.recordings.fingerprint], [clip.name for clip, _ in self.refused])


@dataclass(frozen=True, slots=True)
class Job:
    """One machine with one seed: checked input and the place for the output."""

    config: Run
    run: RunDirectory
    learn: Recordings | None  # None: nothing is to be learnt
    supplement: Supplement  # what there is to learn from besides
    test: TestData | None  # None: there are no test clips yet
    settings_hash: str  # of what decides the model besides data: options, seed, code and weights
    data_hash: str  # of the training clips, or of those the model there was fitted on
    code_hash: str = ""  # of what is no part of this package and decides the model

    @property
    def front_end(self) -> FrontEnd:
        """From the microphones of its recordings to one waveform."""
        recordings = self.learn or (self.test and self.test.recordings)
        return recordings.front_end if recordings else NEAR

    @property
    def model_fingerprint(self) -> str:
        """Hash of everything the model depends on."""
        return fingerprint(self.settings_hash, self.data_hash)

    @property
    def test_hash(self) -> str:
        """Hash of the test clips."""
        return self.test.fingerprint if self.test is not None else fingerprint([], [])

    @property
    def fingerprint(self) -> str:
        """Hash of everything the scores depend on."""
        return fingerprint(self.settings_hash, self.data_hash, self.config.decision.model_dump(), self.test_hash)

    def has_own_test_clips(self) -> bool:
        """Whether the test clips are the run's own: the same as before, or those where it was trained."""
        known = self.run.scores.data()
        if (known and known.fingerprint == self.test_hash) or self.run.is_done(self.fingerprint):
            return True
        trained = self.run.data_root()
        return trained is None or trained.resolve() == self.config.data_root.resolve()

    def score_folder(self) -> ScoreFolder:
        """Where the scores go: those of other recordings never replace those of the run's own test clips."""
        if self.learn is not None or self.has_own_test_clips():
            return self.run.scores
        return self.run.other_scores(self.config.data_root, self.test_hash)

    def check_place(self) -> None:
        """Refuses to replace a model of another configuration, or the run's own test clips by those of a copy."""
        config, run = self.config, self.run
        if config.overwrite and self.learn is not None:
            return
        if run.model.exists() and run.config().get("detector") == config.detector:
            run.check_version(config.detector_version)
            run.check_code(self.code_hash)
        if self.learn is not None or run.fit_facts():  # or nothing is learnt, and nothing is there to be used
            run.make_way(self.model_fingerprint, overwrite=False)
        if self.learn is None or self.test is None or self.has_own_test_clips():
            return
        if (root := run.data_root()) and (own := root / run.machine).is_dir():
            raise AsdError(
                f"{run.path} belongs to {own} and its test clips differ from those in {config.data_root}; "
                f"score them beside it with `score data={config.data_root}`, or replace them with overwrite=true"
            )


def prepare(
    config: Run, dataset: Dataset, *, learn: bool, machines: Sequence[str] = (), seeds: Sequence[int] = ()
) -> Iterator[Job]:
    """Jobs of a configuration, or of some of its machines and seeds; training clips are read only to `learn`."""
    pick_device(config.device)  # or it is refused
    config.detector_settings.check_names()
    try:
        weights_hash = file_hash(config.weights) if config.weights else ""
    except OSError as error:
        raise AsdError(f"weights={config.weights} cannot be read ({error.strerror}); name an existing file") from error
    asked = machines_of(config.machine, dataset)
    if not dataset.is_strict:
        config = config.model_copy(update={"machine": asked})  # a run remembers what it was asked for
    machines = machines or asked
    is_joint = config.detector_settings.is_joint
    learnt_machines = {*machines, *dataset.machines()} if is_joint else {*machines}
    training = {}
    for machine in sorted(learnt_machines) if learn else []:
        with _keep_going_named([] if is_joint else machines):  # without one, a joint detector learns nothing
            training[machine] = load_training(config, dataset, machine)
    for machine in machines:
        if isinstance(dataset, ChallengeData):
            for sentence in dataset.warnings(machine):
                log.warning(sentence)
        own, test = training.get(machine), None
        if own is None or dataset.has_test(machine):
            with _keep_going_named(machines):
                test = load_test(config, dataset, machine, own.recordings if own else None)
        learnt = training if is_joint or own is None else {machine: own}
        for seed in seeds or config.seeds:
            job = _job(config, machine, seed, learnt, test, weights_hash)
            job.check_place()
            yield job


def _job(
    config: Run, machine: str, seed: int, learnt: Mapping[str, TrainingData], test: TestData | None, weights_hash: str
) -> Job:
    """The job of a machine and seed that learns from the clips of these machines: its own, and with it maybe others."""
    run = RunDirectory.of(config.runs, config.run_name, machine, seed)
    fetch(run.path)
    facts, code_hash, supplement = run.fit_facts(), config.own_code, NOTHING
    own = learnt.get(machine)
    if own is None:
        run.check_code(code_hash, refuse=False)
        data_hash, code_hash = facts.get("data", ""), facts.get("code", "")
    elif others := [data.recordings for other, data in learnt.items() if other != machine]:
        supplement = Supplement(other_machines=joined(others))
        data_hash = fingerprint({other: data.fingerprint for other, data in learnt.items()})
    else:
        data_hash = own.fingerprint
    if own and own.supplemental is not None:
        supplement = config.supplemental.supplement(own.recordings, own.supplemental, seed)
    settings_hash = fingerprint(config.settings(code_hash), seed, weights_hash)
    recordings = own.recordings if own else None
    return Job(config, run, recordings, supplement, test, settings_hash, data_hash, code_hash)


@contextmanager
def _keep_going_named(machines: Sequence[str]) -> Iterator[None]:
    """Adds to an error that keep_going=true goes on with the other machines, where there are others."""
    try:
        yield
    except AsdError as error:
        if len(machines) < 2:
            raise
        raise AsdError(f"{str(error).rstrip('.')}; keep_going=true does the other machines") from error


def dataset_of(config: Run) -> Dataset:
    """The recordings that the options name; an error where there are none, or nothing tells what they are."""
    if config.normal:
        return given_data(config.normal, config.abnormal, config.machine, config.held_out)
    return open_data(config.data_root, config.layout, config.machine, config.held_out)


def machines_of(asked: list[str], dataset: Dataset) -> list[str]:
    """The machines that the option `machine` names."""
    return dataset.machines() if asked == ["all"] else asked


def load_training(config: Run, dataset: Dataset, machine: str) -> TrainingData:
    """The training clips of a machine."""
    front_end, supplemental = config.front_end, _load_supplemental(config, dataset, machine)
    if supplemental is not None:
        front_end = config.supplemental.front_end(front_end, supplemental)
    recordings = _read(config, dataset, dataset.clips(machine, Split.TRAIN), front_end)
    if supplemental is not None:
        remarks.check_units(joined([recordings, supplemental]))
    if beginning := remarks.broken(recordings, "training clips"):
        instead = " or use frontend=near residual=0" if front_end.n_microphones > 1 else ""
        raise AsdError(f"{beginning}: such a recording would teach what no machine sounds like, remove it{instead}")
    known, sections = {(clip.section, clip.domain) for clip in recordings.clips}, recordings.sections
    for domain in Domain:
        if without := [name for name in sections if not known & {(name, domain), (name, None)}]:
            where = f" of section {named(without)}" if len(without) < len(sections) else ""
            log.warning("%s has no %s training clips%s: the other domain stands for both", machine, domain, where)
    if isinstance(dataset, OwnData):
        remarks.tell(logging.INFO, machine, dataset.notices(machine) + remarks.notices(recordings))
    remarks.tell(logging.WARNING, machine, remarks.of_training(recordings) + remarks.mono(recordings, config.year))
    if not dataset.is_strict and config.window_s is None:
        recordings = cut_long_recordings(recordings, machine)
    least = 1 if config.window_s else config.detector_settings.least_clips()
    if len(recordings) < least:
        raise AsdError(
            f"{machine} has {len(recordings)} training clips, and {config.detector} learns from {least} or more; give "
            f"more normal recordings, or leave the machine out"
        )
    return TrainingData(recordings, supplemental)


def load_test(config: Run, dataset: Dataset, machine: str, learnt: Recordings | None) -> TestData:
    """The test clips of a machine; broken ones are named, with `keep_going` those that cannot be read are left out.

    They share the front end of what was `learnt`, or that of the run's model, whose noise is not learnt anew.
    """
    model = RunDirectory.of(config.runs, config.run_name, machine, config.seeds[0]).model
    if learnt is not None:
        front_end, known = learnt.front_end, remarks.facts_of(learnt, config.window_s)
    else:
        stored = FrontEnd.of_dict(read_json(model / FRONT_END_FILE))
        front_end = replace(config.front_end, profile=stored.profile, activity=stored.activity)
        known = read_json(model / RECORDED_FILE)
    refused: list[Refused] = []
    clips = dataset.clips(machine, Split.TEST)
    recordings = _read(config, dataset, clips, front_end, refused if config.keep_going else None)
    for clip, what in defects(recordings):
        log.warning("%s %s: it will get a score, but not a meaningful one", clip.path, what)
    for clip, error in refused:
        log.error("%s gets no score: %s", clip.name, error)
    if learnt is None and not dataset.is_strict:
        remarks.tell(logging.INFO, machine, remarks.notices(recordings))
    doubts = remarks.of_test(recordings, known) + remarks.mono(recordings, config.year)
    remarks.tell(logging.WARNING, machine, doubts)
    return TestData(recordings, tuple(refused), dataset.layout)


def _load_supplemental(config: Run, dataset: Dataset, machine: str) -> Recordings | None:
    """Supplemental recordings that are in use; a broken one is refused."""
    if config.supplemental == SupplementalPolicy():
        return None
    if not dataset.is_strict:
        raise AsdError(
            f"supplemental.* is for the folders supplemental/ of the challenge, and {config.data_root} has the layout "
            f"{dataset.layout}; leave it out"
        )
    clips = config.supplemental.clips(config.data_root, machine)
    recordings = _read(config, dataset, clips, config.front_end) if clips else None
    if recordings and (found := defects(recordings)):
        raise AsdError(f"{found[0][0].path} {found[0][1]}: remove it, or set supplemental.*=ignore")
    return recordings


def _read(
    config: Run, dataset: Dataset, clips: Sequence[Clip], front_end: FrontEnd, refused: list[Refused] | None = None
) -> Recordings:
    recordings = check(
        clips,
        sample_rate_hz=config.sample_rate_hz,
        front_end=front_end,
        least_samples=config.detector_settings.least_samples(),
        refused=refused,
        resample=not dataset.is_strict,
    )
    return remarks.check_units(recordings, refused)
