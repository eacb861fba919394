"""Every knob of every stage: typed, validated, with its default and what it means.

`words` fills these from the command line. Only the stages read them; everything else takes plain arguments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from asd.data.microphones import CleanUse, FrontEndName, NoiseUse
from asd.detectors import REGISTRY
from asd.settings.data import Data, DataCheck
from asd.settings.detectors import Autoencoder, Embedding, Statistics, Training
from asd.settings.knobs import Names, Section, Seeds, deciding

DEFAULT_DETECTOR = "statistics"
WITHOUT_VECTORS = ("autoencoder",)  # detectors that know a clip as frames only


class Decision(Section):
    """The threshold above which a clip is called anomalous."""

    method: Literal["gamma", "percentile"] = Field("gamma", description="gamma or percentile")
    quantile: float = Field(0.9, gt=0, lt=1, description="share of normal clips below the threshold")


class Supplemental(Section):
    """What recordings in supplemental/ are for: noise without the machine, the machine without noise."""

    noise: NoiseUse = Field("ignore", description="noise-only: ignore, mix, negatives or profile")
    clean: CleanUse = Field("ignore", description="clean: ignore, references or activity")


class Run(Section):
    """Words of `train` and `score`."""

    machine: Names = Field(["all"], description="machine, several separated by commas, or all found")
    year: int = Field(2025, description="challenge year: default data folder and metric rule")
    data: Path | None = Field(None, description="folder that holds <machine>/{train,test}")
    detector: str = Field(DEFAULT_DETECTOR, description="one of " + ", ".join(REGISTRY))
    seeds: Seeds = Field([0], description="one run per seed; seed=0 is short for seeds=0")
    name: str | None = Field(None, pattern=r"^[^/\s.][^/\s]*$", description="run, by default the detector")
    runs: Path = Field(Path("runs"), description="folder of all runs")
    device: str = Field("auto", description="auto, cpu or cuda")
    sample_rate_hz: int = Field(16000, ge=1000, description="sample rate every recording must have")
    frontend: FrontEndName = Field("near", description="near, far, mean, cancel or subtract")
    residual: float = Field(0.0, ge=0, le=1, description="vectors of clips are near - residual * far")
    compatible: bool = Field(False, description="reproduce the official baseline's code, quirks included")
    weights: Path | None = Field(None, description="score: given weights instead of training")
    overwrite: bool = Field(False, description="start anew where a run with another configuration lies")
    keep_going: bool = Field(False, description="a machine that fails does not stop the others")
    training: Training = Training()
    statistics: Statistics = Statistics()
    embedding: Embedding = Embedding()
    autoencoder: Autoencoder = Autoencoder()
    supplemental: Supplemental = Supplemental()
    decision: Decision = Decision()

    @property
    def run_name(self) -> str:
        """Name of the run's folder."""
        return self.name or self.detector

    def detector_arguments(self) -> dict[str, Any]:
        """Keyword arguments of the detector, plain values."""
        section: Section = getattr(self, self.detector)
        arguments = section.model_dump()
        for name in section.also_takes:
            value = getattr(self, name)
            arguments |= value.model_dump() if isinstance(value, Section) else {name: value}
        return arguments

    def is_joint(self) -> bool:
        """Whether the detector also learns from the other machines' training clips."""
        return bool(getattr(getattr(self, self.detector), "joint", False))

    def least_samples(self) -> int:
        """Shortest clip that the detector can use."""
        return getattr(self, self.detector).least_samples()

    def settings(self) -> dict[str, Any]:
        """What decides the fitted model, apart from data and seed: plain values, for a hash."""
        names = {"detector", "sample_rate_hz", "frontend", "residual", "supplemental"}
        return self.model_dump(include=names) | deciding(self.detector_arguments())


class Evaluate(Section):
    """Words of `evaluate`: a run (name=), or submissions against ground truth (submission=)."""

    name: str | None = Field(None, description="run to evaluate, by default the default detector's")
    runs: Path = Field(Path("runs"), description="folder of all runs")
    year: int = Field(2025, description="challenge year, whose metric rule holds")
    machine: Names = Field(
        ["all"], description="machines to evaluate, by default all that the run should have"
    )
    data: Path | None = Field(None, description="other recordings that were scored, instead of the run's own")
    part: Literal["dev", "eval"] = Field("dev", description="dev: labels by name; eval: by ground truth")
    scorer: str | None = Field(None, description="scorer the official score is quoted for")
    submission: Path | None = Field(None, description="a system's folder of CSVs, or a folder of such")
    ground_truth: Path | None = Field(None, description="folder of labels, by default where data puts them")
    out: Path | None = Field(None, description="where the official result files go")
    json_: Path | None = Field(None, alias="json", description="also write the result to this JSON file")


class Submit(Section):
    """Words of `submit`."""

    label: str = Field(description="<LastName>_<Institute>_task2_<1-4>, such as Nishida_HIT_task2_1")
    name: str | None = Field(None, description="run to package, by default the default detector's")
    year: int = Field(2025, description="challenge year")
    machine: Names = Field(["auto"], description="machines to package, by default the year's evaluation set")
    scorer: str | None = Field(None, description="which scores to submit, by default the run's default")
    seed: int | None = Field(None, description="which seed to submit, by default the run's first")
    development: str | None = Field(
        None, description="run on the development machines, for the meta file; by default the same"
    )
    authors: Path | None = Field(None, description="YAML file that fills in authors and the like")
    template: Path | None = Field(None, description="the official meta template, instead of ours")
    runs: Path = Field(Path("runs"), description="folder of all runs")
    out: Path = Field(Path("submissions"), description="folder of all packages")
    dry_run: bool = Field(False, description="show what would be packaged, write nothing")


class Bundle(Section):
    """Words of `bundle`."""

    team: str = Field(description="<LastName>_<Institute>, with which the labels of the systems begin")
    year: int = Field(2025, description="challenge year")
    report: Path | None = Field(None, description="technical report, a PDF")
    data: Path | None = Field(None, description="data folder whose test clips must all be scored")
    template: Path | None = Field(None, description="the official meta template, instead of ours")
    out: Path = Field(Path("submissions"), description="folder of all packages, and of the archive")
    dry_run: bool = Field(False, description="show what would be archived, write nothing")


class Validate(Section):
    """Words of `validate`."""

    path: Path = Field(description="package folder, its zip, or a folder of up to four systems")
    year: int = Field(2025, description="challenge year")
    data: Path | None = Field(None, description="data folder whose test clips must all be scored")
    template: Path | None = Field(None, description="the official meta template, instead of ours")


class Demo(Section):
    """Words of `demo`."""

    data: Path = Field(Path("data/demo"), description="where the synthetic machines go")
    runs: Path = Field(Path("runs"), description="folder of all runs")
    out: Path = Field(Path("submissions"), description="folder of all packages")


class Fuse(Section):
    """Words of `fuse`."""

    members: Names = Field(
        min_length=1, description="runs to fuse, each RUN or RUN:SCORER, separated by commas"
    )
    machine: Names = Field(
        ["all"], description="machines to fuse, by default all; each member has to have them"
    )
    name: str = Field("fused", pattern=r"^[^/\s.][^/\s]*$", description="name of the new run")
    method: Literal["z", "rank"] = Field("z", description="scale of the mean: z scores or ranks")
    runs: Path = Field(Path("runs"), description="folder of all runs")
    overwrite: bool = Field(False, description="replace a run of that name")
    decision: Decision = Decision()


class Explain(Section):
    """Words of `explain`."""

    machine: Names = Field(["all"], description="machine, several separated by commas, or all of the run")
    name: str | None = Field(None, description="run to explain, by default the default detector's")
    clip: str | None = Field(None, description="file name of a test clip; by default the worst ones")
    worst: int = Field(3, ge=1, description="how many highest normal and lowest anomalous clips")
    seed: int | None = Field(None, description="which seed, by default the run's first")
    scorer: str | None = Field(None, description="whose score, by default the run's default")
    runs: Path = Field(Path("runs"), description="folder of all runs")


class Benchmark(Section):
    """Words of `benchmark`."""

    data: Path = Field(description="folder that holds <machine>/{train,test}")
    methods: Path = Field(Path("configs/benchmark.yaml"), description="YAML file of label: words of train")
    machine: Names = Field(["all"], description="machines to measure on")
    seeds: Seeds = Field([0, 1, 2], description="seeds of every method")
    scorers: Literal["default", "all"] = Field("default", description="scorers in the table")
    year: int = Field(2025, description="challenge year, whose metric rule holds")
    runs: Path = Field(Path("runs/benchmark"), description="folder of the runs and the table")


class Leaderboard(Section):
    """Words of `leaderboard`."""

    members: Names = Field([], description="runs to rank, each RUN or RUN:SCORER; by default all")
    machine: Names = Field(["all"], description="machines to rank on, by default all that the runs share")
    reference: str | None = Field(None, description="member that differences refer to, by default the best")
    year: int = Field(2025, description="challenge year, whose metric rule holds")
    runs: Path = Field(Path("runs"), description="folder of all runs")


STAGES: dict[str, type[Section]] = {
    "data": Data,
    "data-check": DataCheck,
    "train": Run,
    "score": Run,
    "evaluate": Evaluate,
    "leaderboard": Leaderboard,
    "fuse": Fuse,
    "submit": Submit,
    "bundle": Bundle,
    "validate": Validate,
    "explain": Explain,
    "benchmark": Benchmark,
    "demo": Demo,
}
