"""What there is to do: one job per machine and seed, its input checked before any long work starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asd.challenge import files
from asd.challenge.years import YEARS, get_year
from asd.core.runtime import fingerprint, log, pick_device
from asd.data.microphones import FRONT_END_FILE, FrontEnd
from asd.data.recordings import Recordings, Refused, check, defects, joined, mono
from asd.data.supplemental import Use
from asd.runs import RunDirectory, ScoredData, ScoreFolder, read_config, read_json
from asd.settings.config import WITHOUT_VECTORS, Run, Supplemental
from asd.types import AsdError, Clip, Domain, Split


@dataclass(frozen=True, slots=True)
class Job:
    """One machine with one seed: checked input and the place for the output."""

    config: Run
    run: RunDirectory
    learn: Recordings | None  # None: nothing is to be learnt
    others: Recordings | None  # training clips of other machines, where the detector learns jointly
    test: Recordings | None  # None: there are no test clips yet
    refused: tuple[Refused, ...]  # test clips that cannot be used, where these are left out
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

    def is_own(self) -> bool:
        """Whether the test clips are the run's own: the same as before, or those where it was trained."""
        known = self.run.scores.data()
        if (known and known.fingerprint == self.test_data) or self.run.is_done(self.fingerprint):
            return True
        trained = read_config(self.run)
        return not trained or _trained_root(trained).resolve() == data_root(self.config).resolve()

    def score_folder(self) -> ScoreFolder:
        """Where the scores go: those of other recordings never replace those of the run's own test clips."""
        if self.learn is not None or self.is_own():
            return self.run.scores
        return self.run.other_scores(data_root(self.config), self.test_data)

    def scored_data(self) -> ScoredData:
        """The record of what is scored."""
        trained = (
            [clip.section for clip in self.learn.clips]
            if self.learn is not None
            else self.run.fit_facts().get("sections", [])
        )
        clips = self.test.clips if self.test is not None else []
        return ScoredData.of(data_root(self.config), self.test_data, trained, clips)

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
    _check_combination(config)
    plain = FrontEnd(config.frontend, config.residual, device=str(pick_device(config.device)))
    use = Use(config.supplemental.noise, config.supplemental.clean)
    root = data_root(config)
    given = _weights_hash(config.weights) if config.weights else ""
    machines = machines_to_do(config)
    every = (
        [*machines, *(files.list_machines(root) if config.detector_settings.is_joint else [])]
        if learn
        else []
    )
    beside = {m: _beside(config, root, m, use, plain) for m in sorted(set(every))}
    training = {
        m: _recordings(config, root, m, Split.TRAIN, use.front_end(plain, extra))
        for m, extra in beside.items()
    }
    hashes = {machine: _clips_hash(recordings, beside[machine]) for machine, recordings in training.items()}
    for machine in machines:
        for sentence in files.attribute_gaps(root, machine):
            log.warning(sentence)
        recordings = training.get(machine)
        foreign = [part for other, part in training.items() if other != machine]
        others = joined(foreign) if config.detector_settings.is_joint and foreign else None
        test = None
        refused: list[Refused] | None = None
        if list(files.machine_folder(root, machine).glob("*test*")) or not learn:
            front_end = recordings.front_end if recordings else _trained_front_end(config, machine, plain)
            refused = [] if config.keep_going else None
            test = _recordings(config, root, machine, Split.TEST, front_end, refused)
        train_data = fingerprint(hashes) if others else hashes.get(machine, "")
        left_out = tuple(refused or ())
        test_data = _clips_hash(test, left_out=[clip.name for clip, _ in left_out])
        for seed in config.seeds:
            run = RunDirectory.of(config.runs, config.run_name, machine, seed)
            settings = fingerprint(config.settings(), seed, given)
            data = train_data if recordings else run.fit_facts().get("data", "")
            every_clip = use.enlarge(recordings, beside[machine], seed) if recordings else None
            job = Job(config, run, every_clip, others, test, left_out, settings, data, test_data)
            if job.is_foreign() and not (config.overwrite and recordings):
                raise AsdError(
                    f"{run.path} was trained with another configuration or on other clips; give the same options "
                    f"again, choose another name=, or train anew with overwrite=true"
                )
            if learn and not config.overwrite:
                _check_place(job)
            yield job


def _check_place(job: Job) -> None:
    """Refuses to replace the run's own test clips by others that lie beside a copy of its training clips."""
    if job.test is None or job.is_own():
        return
    own = _trained_root(read_config(job.run)) / job.run.machine
    if own.is_dir():
        raise AsdError(
            f"{job.run.path} belongs to {own} and its test clips differ from those in {data_root(job.config)}; "
            f"score them beside it with `score data={data_root(job.config)}`, or replace them with overwrite=true"
        )


def _trained_root(settings: Mapping[str, Any]) -> Path:
    """The data folder of a run's configuration."""
    return Path(settings["data"]) if settings.get("data") else get_year(settings["year"]).dev_root


def begin(config: Run) -> None:
    """Marks the machines that the options name as begun: whoever evaluates the run is told that they are missing."""
    for machine in machines_to_do(config):
        if (data_root(config) / machine).is_dir():
            for seed in config.seeds:
                run = RunDirectory.of(config.runs, config.run_name, machine, seed)
                run.begin(config.stored())


def data_root(config: Run) -> Path:
    """The folder that holds <machine>/{train,test}: `data=`, or the development set of the year."""
    year = get_year(config.year)
    return config.data or year.dev_root


def machines_to_do(config: Run) -> list[str]:
    """The machines that the options name.

    Raises:
        AsdError: none is named, or `all` and there is none.
    """
    if not config.machine:
        raise AsdError("machine= is empty; name one, several separated by commas, or all")
    return files.list_machines(data_root(config)) if config.machine == ["all"] else config.machine


def warn_of_other_years(config: Run) -> None:
    """Warns where the folder holds machines of other years and none of the given one.

    One machine of the given year is enough to believe it, and names in no catalogue say nothing.
    """
    root = data_root(config)
    years = {machine: _years_with(machine) for machine in files.list_machines(root)}
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


def _years_with(machine: str) -> list[int]:
    return [year for year in YEARS if machine in {*get_year(year).dev, *get_year(year).eval}]


def _check_combination(config: Run) -> None:
    """Refuses options that ask a detector for what it has not."""
    if config.detector in WITHOUT_VECTORS and (config.residual or config.supplemental.noise == "negatives"):
        word = f"residual={config.residual:g}" if config.residual else "supplemental.noise=negatives"
        raise AsdError(
            f"{word} works on clips as vectors, which detector={config.detector} does not know; leave it out or "
            f"choose another detector"
        )
    if config.detector_settings.is_joint and config.supplemental != Supplemental():
        raise AsdError(
            f"{config.detector}.joint=true learns from all machines and supplemental.* from one; give one of them"
        )


def _recordings(
    config: Run,
    root: Path,
    machine: str,
    split: Split,
    front_end: FrontEnd,
    refused: list[Refused] | None = None,
) -> Recordings:
    """Checked clips of a machine. A broken training clip is refused, a broken test clip is only named."""
    recordings = _heard(config, files.list_clips(root, machine, split), front_end, refused)
    clips = recordings.clips
    broken = defects(recordings)
    instead = " or listen with frontend=near residual=0" if front_end.n_microphones > 1 else ""
    if broken and split is Split.TRAIN:
        clip, what = broken[0]
        raise AsdError(
            f"{clip.path} {what}, and {len(broken)} of {len(clips)} training clips are broken: such a recording "
            f"would teach what no machine sounds like, remove it{instead}"
        )
    for clip, what in broken:
        log.warning("%s %s: it will get a score, but not a meaningful one", clip.path, what)
    if get_year(config.year).channels > front_end.n_microphones and (alone := mono(recordings)):
        log.warning(
            "%s has one channel (as %d of %d %s clips), and recordings of %d have two: it is taken for the near "
            "microphone",
            *(alone[0].path, len(alone), len(clips), split, config.year),
        )
    domains = {clip.domain for clip in clips}
    for domain in Domain:
        if split is Split.TRAIN and domain not in domains and None not in domains:
            log.warning("%s has no %s training clips: the other domain stands for both", machine, domain)
    return recordings


def _beside(config: Run, root: Path, machine: str, use: Use, front_end: FrontEnd) -> Recordings | None:
    """Checked supplemental clips that are in use; a broken one is refused."""
    clips = use.clips(root, machine)
    recordings = _heard(config, clips, front_end) if clips else None
    if recordings and (broken := defects(recordings)):
        raise AsdError(f"{broken[0][0].path} {broken[0][1]}: remove it, or set supplemental.*=ignore")
    return recordings


def _heard(
    config: Run, clips: Sequence[Clip], front_end: FrontEnd, refused: list[Refused] | None = None
) -> Recordings:
    return check(
        clips,
        sample_rate_hz=config.sample_rate_hz,
        front_end=front_end,
        least_samples=config.detector_settings.least_samples(),
        refused=refused,
    )


def _trained_front_end(config: Run, machine: str, plain: FrontEnd) -> FrontEnd:
    """What the model of a machine listens through: what it has learnt of noise is not learnt anew."""
    run = RunDirectory.of(config.runs, config.run_name, machine, config.seeds[0])
    stored = read_json(run.model / FRONT_END_FILE)
    profile, activity = (tuple(stored.get(key, ())) for key in ("profile", "activity"))
    return replace(plain, profile=profile, activity=activity)


def _clips_hash(*parts: Recordings | None, left_out: Sequence[str] = ()) -> str:
    """Hash of all clips, and of the names of those that cannot be used."""
    return fingerprint([recordings.fingerprint for recordings in parts if recordings], left_out)


def _weights_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise AsdError(f"weights={path} cannot be read ({error.strerror}); name an existing file") from error
