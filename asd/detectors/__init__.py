"""Detectors by name, and their options: each model of options is the argument of a detector's constructor.

A detector of your own needs no change here: `detector=package.module:Class` takes a subclass of `base.Detector`,
and a package that declares an entry point of the group `asd.detectors` gives it a name. Nothing here loads torch, so
that `--help` is quick. The options of `embedding` are in `encoders.recipe`.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, field_validator

from asd.core.runtime import log
from asd.options import Names, Settings, TrainSettings
from asd.types import AsdError

if TYPE_CHECKING:
    from asd.detectors.base import Detector
    from asd.detectors.statistic_groups import Group

# name -> "module:class"; imported only when used, so that `--help` needs no torch
REGISTRY = {
    "statistics": "asd.detectors.statistics:Statistics",
    "autoencoder": "asd.detectors.autoencoder:Autoencoder",
    "embedding": "asd.detectors.embedding:Embedding",
    "auto": "asd.detectors.auto:Auto",
}
ENTRY_POINTS = "asd.detectors"
LEAST_SAMPLES = 2048  # an eighth of a second at 16 kHz


def section_of(detector: str) -> str:
    """Name under which the options of a detector are given: its own, or that of its class in lower case."""
    return detector.rpartition(":")[2].lower() if ":" in detector else detector


def detector_class(detector: str) -> type[Detector]:
    """Class of a detector: a name in `REGISTRY` or of an entry point of the group `asd.detectors`, or a class's place.

    `AsdError` where there is none of that name, it cannot be imported, or it is no detector.
    """
    place = detector if ":" in detector else REGISTRY.get(detector)
    if place is None:  # asking all installed packages takes a while
        places = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)} | REGISTRY
        place = places.get(detector)
    if place is None:
        near = difflib.get_close_matches(detector, places, n=1)
        hint = f"did you mean {near[0]}?" if near else "or name a class of your own as package.module:Class"
        raise AsdError(f"detector={detector} is unknown; choose one of {', '.join(places)}; {hint}")
    base = import_module("asd.detectors.base").Detector
    found = class_at(place, f"detector={detector}")
    if not (isinstance(found, type) and issubclass(found, base)):
        raise AsdError(f"detector={detector} is no subclass of asd.detectors.base.Detector")
    if lacks := sorted(getattr(found, "__abstractmethods__", ())):
        raise AsdError(f"detector={detector} lacks the methods {', '.join(lacks)}; see asd.detectors.base.Detector")
    return cast("type[Detector]", found)


def class_at(place: str, option: str) -> Any:
    """What "package.module:Class" names.

    Args:
        place: such a name; the module is installed, or lies where the command is run.
        option: what messages begin with, the option as it was given: "detector=package.module:Class".

    Raises:
        AsdError: it cannot be imported.
    """
    module, _, attribute = place.partition(":")
    if "" not in sys.path:
        sys.path.append("")  # the installed command `asd` does not look where it is run, `python -m asd` does
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        way = "the module has to be installed, or lie in the folder where the command is run"
        if module == "__main__":
            way = "only the script or notebook that holds the class can name it so: put the class into a module"
        raise AsdError(f"{option} cannot be imported ({error}); {way}") from error


class DetectorSettings(Settings):
    """What every detector can be asked; one of its own adds fields."""

    @property
    def is_joint(self) -> bool:
        """Whether the detector also learns from the training clips of the other machines."""
        return False

    def least_samples(self) -> int:
        """Shortest clip that the detector can use."""
        return 1

    def window_samples(self, window_s: float, sample_rate_hz: int) -> int:
        """Samples of a window.

        Args:
            window_s: its length in seconds.
            sample_rate_hz: of the recordings.

        Raises:
            AsdError: the detector cannot use one so short.
        """
        n_samples, least = round(window_s * sample_rate_hz), self.least_samples()
        if n_samples < least:
            raise AsdError(
                f"window_s={window_s:g} is {n_samples} samples, fewer than the {least} of the detector's shortest "
                f"input; make it longer"
            )
        return n_samples

    def least_clips(self) -> int:
        """Fewest training clips that the detector can learn from."""
        return 1

    def takes_windows(self) -> bool:
        """Whether clips of several lengths are cut into windows of one length."""
        return True

    def check_names(self) -> None:
        """Looks up what the options name, before any recording is read; `AsdError` for what there is not."""

    def own_classes(self) -> list[type]:
        """Classes that the options name as package.module:Class, whose code decides the scores, too.

        `AsdError` for one that cannot be imported, or is not of the kind that the option takes.
        """
        return []

    def own_files(self) -> list[Path]:
        """Files and folders that the options name, and whose content decides the scores."""
        return []


class SearchSettings(Settings):
    """How back ends search their bank of training vectors."""

    neighbours: int | None = Field(None, ge=1, description="k of the k-NN back ends; by default what each stands for")
    index: Literal["auto", "flat", "ivf", "ivfpq"] = Field(
        "auto", description="faiss index of the k-NN back ends: flat is exact, ivf for millions of rows, ivfpq for more"
    )

    def search_options(self, names: Sequence[str], device: object = "cpu") -> dict[str, dict[str, Any]]:
        """What `scoring.backends.backend_named` is to be given for each of these back ends.

        Args:
            names: of back ends.
            device: where neighbours are searched.

        Raises:
            AsdError: there is none of a name, or the options above are given and none of them searches.
        """
        from asd.scoring.backends import backend_named  # brings torch

        options = {"neighbours": self.neighbours, "index": self.index}
        given = {name: value for name, value in options.items() if value not in (None, "auto")}
        searching = [name for name in names if hasattr(backend_named(name), "neighbours")]
        if given and not searching:
            option, value = next(iter(given.items()))
            what = f"{option}={value} is for k-NN back ends, and {', '.join(names)} searches no neighbours"
            raise AsdError(f"{what}; leave one out")
        return {name: {"device": str(device), **(given if name in searching else {})} for name in names}

    def least_vectors(self, names: Sequence[str]) -> int:
        """Fewest vectors that the back ends of these names can be fitted to."""
        from asd.scoring.backends import Backend, backend_named  # brings torch

        leaves_parts_out = any(type(backend_named(name)).leave_one_out is Backend.leave_one_out for name in names)
        return 3 if leaves_parts_out else 2

    def warn_of_few(self, n_clips: int) -> None:
        """Says that more neighbours are asked for than the `n_clips` of the smallest bank are: all count then."""
        if (asked := self.neighbours) and asked >= n_clips:
            log.warning(
                f"neighbours={asked} are asked for, and each of {n_clips} training clips has {n_clips - 1} others: the "
                f"mean over all of them is taken; give neighbours={max(1, n_clips - 1)} or fewer"
            )


class StatisticsSettings(SearchSettings, DetectorSettings):
    """Statistics of clips, and what scores them."""

    views: Names = Field(["all"], description="groups of clip statistics or single views, or all groups")
    backend: str = Field("knn_relative", description="back end that scores a view")
    choose: bool = Field(False, description="only what finds faults planted in normal clips votes, see choice.json")
    overlap: int = Field(
        0,
        ge=0,
        le=16,
        description="windows that hold a sample (16 ms: always 4); 0: 8 where normal clips are below 4 s, else 4",
    )

    @field_validator("overlap")
    @classmethod
    def _is_an_overlap(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one window that holds a sample overlaps no other; write 2 to 16, or 0")
        return value

    def check_names(self) -> None:
        """Looks up the groups and the back end."""
        self.groups()
        self.search_options([self.backend])

    def groups(self) -> Mapping[str, Group]:
        """The groups that `views` names; a single view is a group of one part. `AsdError` for an unknown name."""
        from asd.detectors.statistic_groups import GROUPS, Group, Part
        from asd.features.clip_statistics import POOLED_VIEWS, VIEWS  # brings torch

        if self.views == ["all"]:
            return GROUPS
        known = list(dict.fromkeys([*GROUPS, *VIEWS, *POOLED_VIEWS]))
        if unknown := [name for name in self.views if name not in known]:
            raise AsdError(f"statistics.views={unknown[0]} is unknown; there are {', '.join(known)}")
        return {name: GROUPS.get(name, Group((Part((name,)),), weight=1.0)) for name in self.views}

    def least_clips(self) -> int:
        """As the back end."""
        return self.least_vectors([self.backend])

    def least_samples(self) -> int:
        """Some frames for the envelopes to move in."""
        return LEAST_SAMPLES


class AutoSettings(DetectorSettings):
    """How much trained networks count beside the default detector, and how long they train."""

    weight: float = Field(0.05, ge=0, le=1, description="share of the networks' score")
    copies: int = Field(3, ge=1, description="altered copies of each clip that they learn from")
    networks: int = Field(1, ge=1, description="on spectra and envelopes, and as many on spectra alone")

    def least_clips(self) -> int:
        """One, and another to compare it with."""
        return 2

    def least_samples(self) -> int:
        """Some frames for the envelopes to move in."""
        return LEAST_SAMPLES


class AutoencoderSettings(DetectorSettings):
    """Input and training of the autoencoder; the defaults are the official baseline's."""

    n_fft: int = Field(1024, ge=16, description="window of the spectrogram in samples")
    hop_samples: int = Field(512, ge=1, description="step between frames in samples")
    n_mels: int = Field(128, ge=2, description="mel bands")
    n_frames: int = Field(5, ge=1, description="consecutive frames per input vector")
    compatible: bool = Field(False, description="reproduce the official baseline's code, with its peculiarities")
    training: TrainSettings = TrainSettings()

    def least_clips(self) -> int:
        """One, and another to compare it with."""
        return 2

    def least_samples(self) -> int:
        """One window: frames are centred, so the first needs no samples before the second."""
        return (self.n_frames - 1) * self.hop_samples or 1

    def takes_windows(self) -> bool:
        """Not where the official code is reproduced."""
        return not self.compatible
