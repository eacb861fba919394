"""Jobs: one per machine and seed, whose recordings are listed, read and checked before any long work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from asd.core.files import read_json
from asd.core.runtime import file_hash, fingerprint, log, pick_device
from asd.core.storage import fetch
from asd.data.dataset import Dataset, OwnData, open_data
from asd.data.given import given_data
from asd.data.layouts.words import perhaps_faults
from asd.data.recordings import Recordings, Refused, check, defects, joined
from asd.data.remarks import broken, check_units, copies, kinds, labelled_twice, means, mono, notices, repeated, unlike
from asd.data.supplemental import NOTHING, Supplement, SupplementalPolicy
from asd.detectors.windowed import as_clips
from asd.places import address_of, is_table, written
from asd.runs import FRONT_END_FILE, RECORDED_FILE, RunDirectory, ScoredData, ScoreFolder, stamps_of
from asd.settings.config import Run
from asd.types import NEAR, AsdError, Clip, Domain, FrontEnd, Split, named


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
    settings: str  # hash of what decides the model besides data and seed
    data: str  # hash of the training clips, or of those the model there was fitted on
    code: str = ""  # hash of what is no part of this package and decides the model

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

    def scored_data(self, test: TestData) -> ScoredData:
        """The record of what is scored."""
        learnt = self.run.fit_facts()["sections"] if self.learn is None else self.learn.sections
        clips = tuple((clip.name, clip.section, clip.domain or "") for clip in test.clips)
        root = self.config.data_root
        tables = [path for path in ([root] if root.is_file() else root.glob("recordings.*")) if is_table(path)]
        hashes = {str(path.absolute()): file_hash(path) for path in tables}
        hashes |= {str(s.path.absolute()): s.content for s in test.recordings.sounds if s.path is not None}
        contents = {address_of(Path(path)) or path: found for path, found in hashes.items()}
        known = (tuple(learnt), clips, test.layout, contents, stamps_of(contents))
        return ScoredData(written(root), self.test_data, *known)

    def is_foreign(self) -> bool:
        """Whether the place holds a model, or half a training, of another configuration or other clips."""
        if self.learn is None and not self.run.fit_facts():
            return False  # nothing is learnt, and nothing is there to be used
        return self.run.held() not in (None, self.model_fingerprint)

    def check_place(self) -> None:
        """Refuses to replace a model of another configuration, or the run's own test clips by those of a copy."""
        config, run = self.config, self.run
        if config.overwrite and self.learn is not None:
            return
        if run.model.exists() and run.config().get("detector") == config.detector:
            run.check_version(config.detector_version)
            run.check_code(self.code)
        if self.is_foreign():
            raise run.in_the_way()
        if self.learn is None or self.test is None or self.is_own():
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
        given = file_hash(config.weights) if config.weights else ""
    except OSError as error:
        raise AsdError(f"weights={config.weights} cannot be read ({error.strerror}); name an existing file") from error
    asked = machines_of(config, dataset)
    if not dataset.is_strict:
        config = config.model_copy(update={"machine": asked})  # a run remembers what it was asked for
    machines = machines or asked
    is_joint = config.detector_settings.is_joint
    wanted = {*machines, *(dataset.machines() if is_joint else [])} if learn else set()
    training = {}
    for machine in sorted(wanted):
        with _one_of([] if is_joint else machines):  # without one, a joint detector learns nothing
            training[machine] = load_training(config, dataset, machine)
    for machine in machines:
        for sentence in () if isinstance(dataset, OwnData) else dataset.warnings(machine):
            log.warning(sentence)
        own = training.get(machine)
        others = {other: data for other, data in training.items() if other != machine} if is_joint else {}
        test = None
        if own is None or dataset.has_test(machine):
            with _one_of(machines):
                test = load_test(config, dataset, machine, own.recordings if own else None)
        for seed in seeds or config.seeds:
            run = RunDirectory.of(config.runs, config.run_name, machine, seed)
            fetch(run.path)
            facts, code, supplement = run.fit_facts(), config.own_code, NOTHING
            if own is None:
                run.check_code(code, refuse=False)
                data, code = facts.get("data", ""), facts.get("code", "")
            else:
                others_clips = joined([data.recordings for data in others.values()]) if others else None
                data = fingerprint({k: v.fingerprint for k, v in training.items()}) if others else own.fingerprint
                supplement = Supplement(other_machines=others_clips)
                if own.supplemental is not None:
                    supplement = config.supplemental.supplement(own.recordings, own.supplemental, seed)
            settings = fingerprint(config.settings(code), seed, given)
            job = Job(config, run, own.recordings if own else None, supplement, test, settings, data, code)
            job.check_place()
            yield job


@contextmanager
def _one_of(machines: Sequence[str]) -> Iterator[None]:
    """Names the way past a machine that cannot be used where there are others."""
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


def machines_of(config: Run, dataset: Dataset) -> list[str]:
    """The machines that the options name."""
    return dataset.machines() if config.machine == ["all"] else config.machine


def load_training(config: Run, dataset: Dataset, machine: str) -> TrainingData:
    """The training clips of a machine."""
    front_end, supplemental = config.front_end, _load_supplemental(config, dataset, machine)
    if supplemental is not None:
        front_end = config.supplemental.front_end(front_end, supplemental)
    recordings = _read(config, dataset, dataset.clips(machine, Split.TRAIN), front_end)
    if supplemental is not None:
        check_units(joined([recordings, supplemental]))
    if beginning := broken(recordings, "training clips"):
        instead = " or use frontend=near residual=0" if front_end.n_microphones > 1 else ""
        raise AsdError(f"{beginning}: such a recording would teach what no machine sounds like, remove it{instead}")
    known, sections = {(clip.section, clip.domain) for clip in recordings.clips}, recordings.sections
    for domain in Domain:
        if without := [name for name in sections if not known & {(name, domain), (name, None)}]:
            where = f" of section {named(without)}" if len(without) < len(sections) else ""
            log.warning("%s has no %s training clips%s: the other domain stands for both", machine, domain, where)
    for sentence in dataset.notices(machine) + notices(recordings) if isinstance(dataset, OwnData) else ():
        log.info("%s: %s", machine, sentence)
    called = perhaps_faults(recordings.clips)
    for sentence in [*called, *repeated(recordings), *means(recordings), *mono(recordings, config.year)]:
        log.warning("%s: %s", machine, sentence)
    if not dataset.is_strict and config.window_s is None:
        recordings = as_clips(recordings, machine)
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
        front_end, known = learnt.front_end, kinds(learnt, config.window_s)
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
    for sentence in notices(recordings) if learnt is None and not dataset.is_strict else ():
        log.info("%s: %s", machine, sentence)
    remarks = [*unlike(recordings, known), *copies(recordings, known), *labelled_twice(recordings)]
    for sentence in [*remarks, *mono(recordings, config.year)]:
        log.warning("%s: %s", machine, sentence)
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
    return check_units(recordings, refused)
