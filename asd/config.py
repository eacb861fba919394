"""Every knob of every stage: typed, validated, with its default and what it means.

`words` fills these from the command line. Only the stages read them; everything else takes plain arguments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from asd.detectors import REGISTRY
from asd.knobs import Names, Section, Seeds, Sizes

DEFAULT_DETECTOR = "statistics"

LEAST_SAMPLES = 2048  # an eighth of a second at 16 kHz


class Training(Section):
    """Gradient training; detectors without any ignore it."""

    epochs: int = Field(100, ge=1, description="passes over the training data")
    batch_size: int = Field(256, ge=2, description="items per step")
    learning_rate: float = Field(1e-3, gt=0, description="step size of Adam")


class Autoencoder(Section):
    """Input of the autoencoder; the defaults are the official baseline's."""

    also_takes = ("compatible", "training")

    n_fft: int = Field(1024, ge=16, description="window of the spectrogram in samples")
    hop_samples: int = Field(512, ge=1, description="step between frames in samples")
    n_mels: int = Field(128, ge=2, description="mel bands")
    n_frames: int = Field(5, ge=1, description="consecutive frames per input vector")

    def least_samples(self) -> int:
        """One window: frames are centred, so the first needs no samples before the second."""
        return (self.n_frames - 1) * self.hop_samples or 1


class Statistics(Section):
    """Clip statistics and what scores them."""

    also_takes = ("sample_rate_hz",)

    views: Names = Field(["all"], description="clip statistics that take part, or all")
    backend: str = Field("gaussian", description="what scores a view")

    def least_samples(self) -> int:
        """Some frames for the envelopes to move in."""
        return LEAST_SAMPLES


class Embedding(Section):
    """Encoder that is trained to tell normal clips apart; sized so that a CPU core takes about a minute."""

    backends: Names = Field(
        ["knn", "knn_density", "mahalanobis"],
        description="what scores an embedding; the first is the default",
    )
    joint: bool = Field(False, description="one encoder for all machines of the run")
    segment_samples: int = Field(32000, ge=2048, description="length of what the encoder hears at once")
    windows_samples: Sizes = Field([256, 1024, 4096], description="STFT windows, one branch each")
    whole: bool = Field(True, description="also a branch on the spectrum of the whole segment")
    n_dims: int = Field(128, ge=1, description="dimensions of each branch's embedding")
    width: int = Field(16, ge=1, description="channels of the first stage; the last has 8 times as many")
    level: bool = Field(True, description="let the encoder hear how loud a segment is")
    loss: Literal["subcluster_adacos", "adaproj", "arcface", "cross_entropy"] = Field(
        "subcluster_adacos", description="subcluster_adacos, adaproj, arcface or cross_entropy"
    )
    mixup: float = Field(0.5, ge=0, le=1, description="share of segments mixed with another")
    featex: float = Field(0.0, ge=0, le=1, description="share of segments whose branches are exchanged")
    statex: float = Field(0.0, ge=0, le=1, description="share of spectra whose statistics are exchanged")
    masking: float = Field(0.0, ge=0, lt=1, description="widest masked band and stretch, share of the axis")
    balance: float = Field(0.5, ge=0, le=1, description="0 draws clips alike, 1 draws classes alike")
    least_classes: int = Field(3, ge=2, description="with fewer real classes, clips are clustered")
    most_classes: int = Field(8, ge=2, description="cap on the classes of a machine that is clustered")
    memory_gib: float = Field(4.0, gt=0, description="most that the training waveforms may take")
    epochs: int = Field(16, ge=1, description="passes over the training clips")
    batch_size: int = Field(32, ge=2, description="segments per step")
    learning_rate: float = Field(1e-3, gt=0, description="step size of AdamW")
    weight_decay: float = Field(1e-2, ge=0, description="of AdamW")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of steps in which the learning rate rises")
    schedule: Literal["constant", "cosine"] = Field("constant", description="constant or cosine")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on a GPU, float32 on a CPU"
    )

    def least_samples(self) -> int:
        """As for clip statistics, which find the pseudo-classes; shorter segments are filled by repetition."""
        return LEAST_SAMPLES


class Decision(Section):
    """The threshold above which a clip is called anomalous."""

    method: Literal["gamma", "percentile"] = Field("gamma", description="gamma or percentile")
    quantile: float = Field(0.9, gt=0, lt=1, description="share of normal clips below the threshold")


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
    channel: int = Field(0, ge=0, description="microphone to listen to (2026: 0 near, 1 far)")
    compatible: bool = Field(False, description="reproduce the official baseline's code, quirks included")
    weights: Path | None = Field(None, description="score: given weights instead of training")
    overwrite: bool = Field(False, description="start anew where a run with another configuration lies")
    keep_going: bool = Field(False, description="a machine that fails does not stop the others")
    training: Training = Training()
    statistics: Statistics = Statistics()
    embedding: Embedding = Embedding()
    autoencoder: Autoencoder = Autoencoder()
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
        own = {"detector": self.detector, "sample_rate_hz": self.sample_rate_hz, "channel": self.channel}
        return own | self.detector_arguments()


class Evaluate(Section):
    """Words of `evaluate`: a run (name=), or submissions against ground truth (submission=)."""

    name: str | None = Field(None, description="run to evaluate, by default the default detector's")
    runs: Path = Field(Path("runs"), description="folder of all runs")
    year: int = Field(2025, description="challenge year, whose metric rule holds")
    scorer: str | None = Field(None, description="scorer the official score is quoted for")
    submission: Path | None = Field(None, description="a system's folder of CSVs, or a folder of such")
    ground_truth: Path | None = Field(None, description="folder of the organisers' ground truth")
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
    out: Path = Field(Path("submissions"), description="folder of all packages, and of the archive")
    dry_run: bool = Field(False, description="show what would be archived, write nothing")


class Validate(Section):
    """Words of `validate`."""

    path: Path = Field(description="package folder, its zip, or a folder of up to four systems")
    year: int = Field(2025, description="challenge year")
    data: Path | None = Field(None, description="data folder whose test clips must all be scored")


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
