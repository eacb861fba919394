"""The recordings of a machine, listed, read and checked: what is learnt from, what is there besides, what is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asd.challenge.years import get_year
from asd.core.runtime import fingerprint, log
from asd.data.dataset import Dataset, given_data, open_data
from asd.data.microphones import FRONT_END_FILE, FrontEnd
from asd.data.notices import RECORDED_FILE, kinds, notices, unlike
from asd.data.recordings import Recordings, Refused, broken, check, defects, mono
from asd.data.supplemental import Supplement, SupplementalPolicy
from asd.runs import RunDirectory, read_json
from asd.settings.config import Run
from asd.types import AsdError, Clip, Domain, Split


@dataclass(frozen=True)
class TrainingData:
    """What a machine's detector learns from.

    Attributes:
        recordings: the training clips.
        supplemental: supplemental recordings that are in use; None: there are none.
        policy: what these are for.
    """

    recordings: Recordings
    supplemental: Recordings | None
    policy: SupplementalPolicy

    @property
    def fingerprint(self) -> str:
        """Hash of all of it."""
        parts = (self.recordings, self.supplemental)
        return fingerprint([part.fingerprint for part in parts if part is not None])

    def supplement(self, seed: int, other_machines: Recordings | None = None) -> Supplement:
        """What there is to learn from besides the training clips.

        Args:
            seed: of noises and ratios that are drawn.
            other_machines: training clips of the other machines, for a joint detector.
        """
        if self.supplemental is None:
            return Supplement(other_machines=other_machines)
        return self.policy.supplement(self.recordings, self.supplemental, seed)


@dataclass(frozen=True)
class TestData:
    """What is scored.

    Attributes:
        recordings: the test clips.
        refused: those of them that cannot be used and are left out.
        layout: of the folder they lie in.
    """

    recordings: Recordings
    refused: tuple[Refused, ...]
    layout: str = "challenge"

    @property
    def clips(self) -> list[Clip]:
        """All test clips, usable or not."""
        return [*self.recordings.clips, *(clip for clip, _ in self.refused)]

    @property
    def fingerprint(self) -> str:
        """Hash of the recordings, and of the names of those that cannot be used."""
        return fingerprint([self.recordings.fingerprint], [clip.name for clip, _ in self.refused])


def dataset_of(config: Run) -> Dataset:
    """The recordings that the options name.

    Raises:
        AsdError: there are none, two places are named, or nothing tells what the recordings are.
    """
    if config.abnormal and not config.normal:
        raise AsdError(f"abnormal={config.abnormal} goes with normal=; give the normal recordings, too")
    if config.normal and config.data:
        raise AsdError(f"normal={config.normal} and data={config.data} both name recordings; give one of them")
    if config.normal:
        return given_data(config.normal, config.abnormal, config.machine, config.held_out)
    return open_data(config.data_root, config.layout, config.machine, config.held_out)


def load_training(config: Run, dataset: Dataset, machine: str) -> TrainingData:
    """The training clips of a machine; a broken one is refused.

    Args:
        config: how they are read.
        dataset: what they are of.
        machine: which one.

    Raises:
        AsdError: a recording that cannot be used, or of which nothing can be learnt.
    """
    policy = SupplementalPolicy(config.supplemental.noise, config.supplemental.clean)
    front_end = plain_front_end(config)
    supplemental = _load_supplemental(config, dataset, machine, policy, front_end)
    if supplemental is not None:
        front_end = policy.front_end(front_end, supplemental)
    recordings = _read(config, dataset, dataset.clips(machine, Split.TRAIN), front_end)
    if beginning := broken(recordings, "training clips"):
        instead = " or use frontend=near residual=0" if front_end.n_microphones > 1 else ""
        raise AsdError(f"{beginning}: such a recording would teach what no machine sounds like, remove it{instead}")
    domains = {clip.domain for clip in recordings.clips}
    for domain in Domain:
        if domain not in domains and None not in domains:
            log.warning("%s has no %s training clips: the other domain stands for both", machine, domain)
    for sentence in dataset.notices(machine) + _notices(dataset, recordings):
        log.info("%s: %s", machine, sentence)
    _warn_of_mono(config, recordings)
    return TrainingData(recordings, supplemental, policy)


def load_test(config: Run, dataset: Dataset, machine: str, learnt: Recordings | None) -> TestData:
    """The test clips of a machine; broken ones are named, with `keep_going` those that cannot be read are left out.

    Args:
        config: how they are read.
        dataset: what they are of.
        machine: which one.
        learnt: the training clips, whose front end they share; None: they share that of the run's model.

    Raises:
        AsdError: a recording that cannot be used.
    """
    refused: list[Refused] = []
    recordings = _read(
        config,
        dataset,
        dataset.clips(machine, Split.TEST),
        learnt.front_end if learnt else _trained_front_end(config, machine),
        refused if config.keep_going else None,
    )
    for clip, what in defects(recordings):
        log.warning("%s %s: it will get a score, but not a meaningful one", clip.path, what)
    for clip, error in refused:
        log.error("%s gets no score: %s", clip.name, error)
    for sentence in _notices(dataset, recordings) if learnt is None else ():
        log.info("%s: %s", machine, sentence)
    for sentence in unlike(recordings, kinds(learnt) if learnt else read_json(_model(config, machine) / RECORDED_FILE)):
        log.warning("%s: %s", machine, sentence)
    _warn_of_mono(config, recordings)
    return TestData(recordings, tuple(refused), dataset.layout)


def _load_supplemental(
    config: Run, dataset: Dataset, machine: str, policy: SupplementalPolicy, front_end: FrontEnd
) -> Recordings | None:
    """Supplemental recordings that are in use; a broken one is refused."""
    if policy == SupplementalPolicy():
        return None
    if not dataset.is_strict:
        raise AsdError(
            f"supplemental.* is for the folders supplemental/ of the challenge, and {config.data_root} has the layout "
            f"{dataset.layout}; leave it out"
        )
    clips = policy.clips(config.data_root, machine)
    recordings = _read(config, dataset, clips, front_end) if clips else None
    if recordings and (found := defects(recordings)):
        raise AsdError(f"{found[0][0].path} {found[0][1]}: remove it, or set supplemental.*=ignore")
    return recordings


def _read(
    config: Run, dataset: Dataset, clips: Sequence[Clip], front_end: FrontEnd, refused: list[Refused] | None = None
) -> Recordings:
    return check(
        clips,
        sample_rate_hz=config.sample_rate_hz,
        front_end=front_end,
        least_samples=config.detector_settings.least_samples(),
        refused=refused,
        resample=not dataset.is_strict,
    )


def _notices(dataset: Dataset, recordings: Recordings) -> list[str]:
    """What was done to recordings to make them fit; those of the challenge are laid down."""
    return [] if dataset.is_strict else notices(recordings)


def plain_front_end(config: Run) -> FrontEnd:
    """The front end of the options, before anything is learnt of noise.

    Raises:
        AsdError: one channel and two microphones are both asked for.
    """
    if config.channel is not None and (config.frontend != "near" or config.residual):
        raise AsdError(
            f"channel={config.channel} takes one channel, and frontend={config.frontend} residual={config.residual:g} "
            f"takes two; give one of them"
        )
    return FrontEnd(config.frontend, config.residual, config.channel)


def _trained_front_end(config: Run, machine: str) -> FrontEnd:
    """The front end of a machine's model: what it has learnt of noise is not learnt anew."""
    stored = FrontEnd.of_dict(read_json(_model(config, machine) / FRONT_END_FILE))
    return replace(plain_front_end(config), profile=stored.profile, activity=stored.activity)


def _model(config: Run, machine: str) -> Path:
    return RunDirectory.of(config.runs, config.run_name, machine, config.seeds[0]).model


def _warn_of_mono(config: Run, recordings: Recordings) -> None:
    """Names recordings by one microphone in a year of two."""
    if get_year(config.year).channels > recordings.front_end.n_microphones and (alone := mono(recordings)):
        log.warning(
            "%s has one channel (as %d of %d %s clips), and recordings of %d have two: it is taken for the near "
            "microphone",
            *(alone[0].path, len(alone), len(recordings), alone[0].split, config.year),
        )
