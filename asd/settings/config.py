"""The options of every stage: typed, validated, with their defaults and what they mean.

Those of a run are here, those of the stages that fit nothing in `stages` beside it. `parsing` fills them from the
command line. Only the stages read them. The options of a detector are declared beside it, in `detectors` and
`detectors.encoders.recipe`, and are the argument of its constructor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, create_model, model_validator

from asd.challenge.years import get_year
from asd.core.runtime import fingerprint, own_code
from asd.core.tracking import TrackerName
from asd.data.dataset import HELD_OUT
from asd.data.supplemental import SupplementalPolicy
from asd.detectors import (
    REGISTRY,
    AutoencoderSettings,
    AutoSettings,
    DetectorSettings,
    StatisticsSettings,
    detector_class,
    section_of,
)
from asd.detectors.encoders.recipe import EmbeddingSettings
from asd.options import Execution, Given, Names, RunName, Seeds, Settings
from asd.places import Place, mirrored
from asd.settings import stages as options
from asd.settings.stages import DEFAULT_DETECTOR
from asd.types import AsdError, FrontEnd, FrontEndName

MOST_HZ = 1_000_000  # of a recording
WITHOUT_VECTORS = ("autoencoder",)  # detectors that know a clip as frames only

LayoutName = Literal["auto", "challenge", "table", "mimii", "toyadmos", "industrial", "plain"]


class Decision(Settings):
    """The threshold above which a clip is called anomalous."""

    method: Literal["gamma", "percentile"] = Field("gamma", description="gamma or percentile")
    quantile: float = Field(0.9, gt=0, lt=1, description="share of normal clips below the threshold")
    false_alarm_rate: float | None = Field(
        None, gt=0, lt=1, description="instead: the most normal clips above, held with 95 % confidence"
    )


class Run(Execution):
    """Options of `train`, and what a run is made of; the options of its detector are a field of its name."""

    leading: ClassVar[tuple[str, ...]] = (  # the ones that matter, which --help lists first
        "machine", "data", "normal", "detector", "name", "seeds", "year", "device",
        "sample_rate_hz", "overwrite", "keep_going",
    )  # fmt: skip
    hidden: ClassVar[tuple[str, ...]] = ("weights",)  # those of another stage

    machine: Names = Field(["all"], description="machine, several separated by commas, or all found")
    year: int = Field(2025, description="challenge year: default data folder and metric rule")
    data: Place | None = Field(None, description="data folder, or a table of recordings (docs/own-recordings.md)")
    normal: Given | None = Field(
        None, description="instead of data: normal recordings, a file, folder, pattern or table"
    )
    abnormal: Given | None = Field(None, description="with normal: recordings of faults, for the check")
    layout: LayoutName = Field("auto", description="of data: auto, " + ", ".join(get_args(LayoutName)[1:]))
    held_out: float = Field(
        HELD_OUT, ge=0, lt=1, description="share of one's own normal recordings for the check, where nothing says"
    )
    detector: str = Field(
        DEFAULT_DETECTOR, description=", ".join(REGISTRY) + ", an installed one, or package.module:Class"
    )
    seeds: Seeds = Field([0], description="one training per seed; seed=0 is short for seeds=0")
    name: RunName | None = Field(None, description="name of the run, by default the detector's")
    runs: Place = Field(Path("runs"), description="folder of all runs")
    device: str = Field("auto", description="auto, cpu or cuda")
    sample_rate_hz: int = Field(16000, ge=1000, le=MOST_HZ, description="sample rate every recording must have")
    channel: Annotated[int, Field(ge=0)] | Literal["mean"] | None = Field(
        None, description="of files with several channels: a number from 0 on, or mean; by default the first"
    )
    frontend: FrontEndName = Field("near", description="near, far, mean, cancel or subtract")
    residual: float = Field(0.0, ge=0, le=1, description="vectors of clips are near - residual * far")
    window_s: float | None = Field(
        None,
        gt=0,
        description="seconds of a window, in which longer clips are scored; by default of the shortest training clips",
    )
    weights: Path | None = Field(None, description="given weights instead of those of a run")
    track: TrackerName = Field("none", description="also note the training in tensorboard, mlflow or wandb")
    overwrite: bool = Field(False, description="start anew where a run with another configuration lies")
    keep_going: bool = Field(False, description="what cannot be used stops nothing else: machines, test clips")
    statistics: StatisticsSettings = StatisticsSettings()
    autoencoder: AutoencoderSettings = AutoencoderSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    auto: AutoSettings = AutoSettings()
    supplemental: SupplementalPolicy = SupplementalPolicy()
    decision: Decision = Decision()

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.abnormal and not self.normal:
            raise AsdError(f"abnormal={self.abnormal} goes with normal=; give the normal recordings, too")
        if self.normal and self.data:
            raise AsdError(f"normal={self.normal} and data={self.data} both name recordings; give one of them")
        if self.channel is not None and (self.frontend != "near" or self.residual):
            raise AsdError(
                f"channel={self.channel} takes one channel, and frontend={self.frontend} residual={self.residual:g} "
                f"takes two; give one of them"
            )
        if self.detector in WITHOUT_VECTORS and (self.residual or self.supplemental.noise == "negatives"):
            option = f"residual={self.residual:g}" if self.residual else "supplemental.noise=negatives"
            raise AsdError(
                f"{option} works on clips as vectors, which detector={self.detector} does not know; leave it out or "
                f"choose another detector"
            )
        if self.window_s is not None:
            self.detector_settings.window_samples(self.window_s, self.sample_rate_hz)  # or it is refused
        if self.supplemental != SupplementalPolicy() and self.detector_settings.is_joint:
            raise AsdError(
                f"{self.detector}.joint=true learns from all machines and supplemental.* from one; give one of them"
            )
        return self

    @classmethod
    def with_detector(cls, detector: str) -> type[Self]:
        """This model, with a field for the options of a detector that lives outside this package."""
        name = section_of(detector)
        if detector in REGISTRY:
            return cls
        if name in set(cls.model_fields) - cls.detector_names():
            raise AsdError(f"detector={detector} cannot be called {name}, an option of train; rename its class")
        options = detector_class(detector).settings_type
        field: Any = (options, options())
        return create_model(cls.__name__, __base__=cls, **{name: field})

    @classmethod
    def detector_names(cls) -> set[str]:
        """Names of the fields that hold the options of a detector."""
        return {name for name, field in cls.model_fields.items() if isinstance(field.get_default(), DetectorSettings)}

    @property
    def run_name(self) -> str:
        """Name of the run's folder."""
        return self.name or section_of(self.detector)

    @property
    def data_root(self) -> Path:
        """Where the recordings are: `data`, what `normal` names, or the development set of the year."""
        return self.data or (mirrored(self.normal) if self.normal else get_year(self.year).dev_root)

    @property
    def front_end(self) -> FrontEnd:
        """From the microphones of a recording to one waveform, before anything is learnt of noise."""
        return FrontEnd(self.frontend, self.residual, self.channel)

    @property
    def detector_settings(self) -> DetectorSettings:
        """Options of the chosen detector: the argument of its constructor."""
        return getattr(self, section_of(self.detector))

    def settings(self, code: str = "") -> dict[str, Any]:
        """What decides the model, apart from data and seed: plain values, for a hash; `code` is that of `own_code`."""
        names = {"detector", "sample_rate_hz", "frontend", "residual", "supplemental"}
        shared = self.model_dump(mode="json", include=names)
        shared |= self.model_dump(include={"window_s", "channel"}, exclude_none=True)
        shared |= {} if self.detector_version == 1 else {"version": self.detector_version}
        shared |= {"code": code} if code else {}
        return shared | {"options": self.detector_settings.deciding()}

    @property
    def own_code(self) -> str:
        """Hash of what decides the scores and is no part of this package: code of one's own, a checkpoint's content."""
        options = self.detector_settings
        code = own_code([detector_class(self.detector), *options.own_classes()])
        if not (files := options.own_files()):
            return code
        from asd.detectors.encoders.published import content_hash

        return fingerprint(code, [content_hash(path) for path in files])

    @property
    def detector_version(self) -> int:
        """Version of what the detector computes: scores of two versions do not go together."""
        return detector_class(self.detector).version

    def stored(self) -> dict[str, Any]:
        """All options but those of other detectors and of where jobs run, as plain values for config.yaml."""
        others = type(self).detector_names() - {section_of(self.detector)}
        return self.model_dump(mode="json", exclude=others | set(Execution.model_fields))


class Score(Run):
    """Options of `score`; everything else comes from the configuration of the run."""

    leading: ClassVar[tuple[str, ...]] = (
        "machine", "name", "data", "year", "seeds", "device",
        "runs", "weights", "detector", "keep_going", "decision", *Execution.model_fields,
    )  # fmt: skip
    hidden: ClassVar[tuple[str, ...]] = tuple(set(Run.model_fields) - set(leading))


class Enroll(Run):
    """Options of `enroll`: those of `train`, for a handful of normal recordings."""

    leading: ClassVar[tuple[str, ...]] = (
        "normal", "machine", "name", "detector", "window_s", "decision", "overwrite",
    )  # fmt: skip
    hidden: ClassVar[tuple[str, ...]] = ("weights", "data", "abnormal", "layout", "year", "held_out")

    normal: Given = Field(description="normal recordings: a file, folder, pattern or table")
    held_out: float = 0.0
    window_s: float | None = Field(1.0, gt=0, description="a row of the bank per window of so many seconds")
    decision: Decision = Decision(false_alarm_rate=0.1)


class Fuse(Settings):
    """Options of `fuse`."""

    members: Names = Field(min_length=1, description="runs to fuse, each RUN or RUN:SCORER, separated by commas")
    machine: Names = Field(["all"], description="machines to fuse, by default all; each member has to have them")
    name: RunName = Field("fused", description="name of the new run")
    method: Literal["z", "rank"] = Field("z", description="scale of the mean: z scores or ranks")
    runs: Place = Field(Path("runs"), description="folder of all runs")
    overwrite: bool = Field(False, description="replace a run of that name")
    decision: Decision = Decision()


class Demo(Settings):
    """Options of `demo`."""

    data: Path = Field(Path("data/demo"), description="where the synthetic machines go")
    runs: Path = Field(Path("runs"), description="folder of all runs")
    out: Path = Field(Path("submissions"), description="folder of all packages")


STAGES: dict[str, type[Settings]] = {
    "data": options.Data, "data-check": options.DataCheck,
    "train": Run, "enroll": Enroll, "score": Score,
    "evaluate": options.Evaluate, "leaderboard": options.Leaderboard, "fuse": Fuse,
    "predict": options.Predict, "explain": options.Explain, "report": options.Report,
    "submit": options.Submit, "bundle": options.Bundle, "validate": options.Validate,
    "benchmark": options.Benchmark, "sweep": options.Sweep, "reproduce": options.Reproduce, "demo": Demo,
    "listen": options.Listen, "serve": options.Serve, "export": options.Export,
}  # fmt: skip
