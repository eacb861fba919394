"""Options of the stages of sound event detection: `python -m asd sed <stage> key=value ...`.

Imoto (2021) are the slides on sound event detection and scene classification cited in `asd.core.networks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from asd.core.tracking import TrackerName
from asd.options import AnyNames, FolderName, Names, Numbers, RunName, Seeds, Settings, TrainSettings, meanings
from asd.places import Place
from asd.types import AsdError


class MakeSoundscapes(Settings):
    """Mix labelled recordings into backgrounds, with labels: a data folder to train on."""

    events: Place = Field(description="folder of labelled WAVs: <label>/<source>_*.wav or <label>_<source>_*.wav")
    background: str = Field("", description="folder of WAVs to put behind them, or synthetic: machines running")
    out: Place = Field(Path("data/soundscapes"), description="the data folder that is made")
    classes: AnyNames = Field([], description="labels to use; none: all there are")
    seed: int = Field(0, ge=0, description="same seed, same bytes")
    strong: int = Field(200, ge=0, description="training clips with onsets and offsets")
    weak: int = Field(0, ge=0, description="training clips with labels only")
    unlabelled: int = Field(0, ge=0, description="training clips without any")
    validation: int = Field(60, ge=1, description="clips that tune thresholds and windows")
    test: int = Field(100, ge=1, description="clips that are measured")
    duration_s: float = Field(5.0, ge=0.5, description="of a clip")
    sample_rate_hz: int = Field(16000, ge=2000, le=1_000_000, description="of a clip; recordings are brought to it")
    least_events: int = Field(1, ge=0, description="fewest events drawn for a clip")
    most_events: int = Field(5, ge=1, description="most events drawn for a clip")
    least_snr_db: float = Field(6.0, description="quietest event over its background")
    most_snr_db: float = Field(24.0, description="loudest event over its background")
    overlap: int = Field(2, ge=1, description="most events at a time")
    duration_ratio: float = Field(1.0, ge=1, description="longest class over shortest; 1: as recorded")
    longest_s: float = Field(4.0, gt=0, description="length of the longest class, where they are unequal")
    frequency_ratio: float = Field(1.0, ge=1, description="most frequent class over rarest")
    overwrite: bool = Field(False, description="replace a folder made with other options")


class Features(Settings):
    """Input of the network: log-mel levels; the window and step of Imoto (2021) at 16 kHz."""

    sample_rate_hz: int = Field(16000, ge=2000, le=1_000_000, description="of all recordings")
    n_fft: int = Field(640, ge=16, description="window in samples (40 ms at 16 kHz)")
    hop_samples: int = Field(320, ge=1, description="step between frames in samples (20 ms at 16 kHz)")
    n_mels: int = Field(64, ge=2, description="mel bands")

    @property
    def hop_s(self) -> float:
        """Seconds from frame to frame."""
        return self.hop_samples / self.sample_rate_hz


class Network(Settings):
    """The network; the defaults are those of Imoto (2021)."""

    kind: Literal["crnn", "transformer"] = Field("crnn", description="crnn or transformer")
    channels: Numbers = Field([128, 128, 128], description="of each convolution")
    pools: Numbers = Field([8, 4, 2], description="bands pooled into one after each convolution")
    pooling: Literal["attention", "linear_softmax"] = Field(
        "attention", description="frames to clip: attention or linear_softmax"
    )
    n_recurrent: int = Field(32, ge=1, description="units of the GRU, per direction")
    n_heads: int = Field(32, ge=1, description="attention heads")
    n_layers: int = Field(2, ge=1, description="Transformer layers")
    n_feedforward: int = Field(512, ge=1, description="hidden width of a Transformer layer")


class Loss(Settings):
    """What the student learns from labels; a number left out is the loss's own."""

    name: Literal["bce", "srl", "ifl", "afl", "dice", "fbtl"] = Field(
        "bce", description="of the frames: bce, srl, ifl, afl, dice or fbtl"
    )
    alpha: float | None = Field(None, description="of srl and fbtl")
    beta: float | None = Field(None, description="of srl and fbtl")
    gamma: float | None = Field(None, description="of ifl, afl and fbtl")
    zeta: float | None = Field(None, description="of afl")
    constant: float | None = Field(None, description="of ifl, in frames")
    smoothing: float | None = Field(None, description="of dice")
    eta: float | None = Field(None, description="of fbtl")
    weak: float = Field(0.5, ge=0, description="weight of the clip labels")
    activity: float = Field(0.0, ge=0, description="weight of activity beside events (SED + SAD); 0: without")
    graph: float = Field(0.0, ge=0, description="weight of the graph penalty, on means over frames; 0: without")

    def own(self) -> dict[str, Any]:
        """Settings of the loss itself that were given."""
        return self.model_dump(exclude={"name", "weak", "activity", "graph"}, exclude_none=True)


class Teacher(Settings):
    """The teacher, the running average of the student, which gives targets where labels do not."""

    method: Literal["none", "mean_teacher", "cmt_normal", "cmt_neg"] = Field(
        "mean_teacher", description="none, mean_teacher, cmt_normal or cmt_neg"
    )
    decay: float = Field(0.99, ge=0, lt=1, description="of the running average, per step")
    weight: float = Field(2.0, ge=0, description="of its targets, after the ramp")
    ramp_epochs: float = Field(5.0, ge=0, description="over which that weight rises")
    positive: float = Field(0.5, ge=0, le=1, description="from which probability on a class counts as present")
    negative: float = Field(0.3, ge=0, le=1, description="up to which probability cmt_neg counts a class as absent")
    window_frames: int = Field(7, ge=1, description="odd median window over its decisions")
    balance: bool = Field(False, description="same mass for cmt_neg's positives and negatives")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.method in ("cmt_normal", "cmt_neg") and self.window_frames % 2 == 0:
            raise AsdError(f"teacher.window_frames={self.window_frames} has no middle frame; give an odd number")
        if self.method == "cmt_neg" and self.negative >= self.positive:
            raise AsdError(
                f"teacher.negative={self.negative} has to lie below teacher.positive={self.positive}, or a class would "
                f"count as present and absent at once"
            )
        return self


class Augmentation(Settings):
    """How training clips are changed; none of it by default."""

    mixup: float = Field(0.0, ge=0, le=1, description="share of clips mixed with one that is labelled alike")
    mask: float = Field(0.0, ge=0, lt=1, description="widest blank band and stretch, as a share")


class Learning(TrainSettings):
    """The training loop."""

    epochs: int = Field(50, ge=1, description="passes over the training clips, at most")
    batch_size: int = Field(24, ge=2, description="clips per step")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps over which it rises")
    schedule: Literal["constant", "cosine"] = Field("cosine", description="constant or cosine, afterwards")
    patience: int | None = Field(
        None, ge=1, description="epochs without a better validation F1 before it stops; none: all epochs"
    )


class Train(Settings):
    """Learn events from strong, soft, weak and no labels, tune on validation, score the test."""

    data: Place = Field(Path("data/soundscapes"), description="data folder: train_*/, validation/, test/, tables")
    name: RunName = Field("sed", description="of the run")
    runs: Place = Field(Path("runs/sed"), description="folder of the runs")
    seeds: Seeds = Field([0], description="one training each")
    classes: AnyNames = Field([], description="event classes, in order; none: all labels of the training tables")
    device: str = Field("auto", description="auto, cpu or cuda")
    overwrite: bool = Field(False, description="replace a run of other options or data")
    track: TrackerName = Field("none", description="also note the training in tensorboard, mlflow or wandb")
    features: Features = Features()
    network: Network = Network()
    loss: Loss = Loss()
    teacher: Teacher = Teacher()
    augment: Augmentation = Augmentation()
    training: Learning = Learning()

    def decisive(self) -> dict[str, Any]:
        """What decides a result apart from data and seed: plain values."""
        places = {"data", "name", "runs", "seeds", "device", "overwrite", "track"}
        return {name: value for name, value in self.deciding().items() if name not in places}


class Score(Settings):
    """Find events in a folder of recordings."""

    name: str = Field("sed", description="of the trained run")
    runs: Place = Field(Path("runs/sed"), description="folder of the runs")
    audio: Place = Field(description="folder of WAVs in which events are to be found")
    seeds: Seeds | None = Field(None, description="trainings to use; none: all there are")
    device: str = Field("auto", description="auto, cpu or cuda")


class Evaluate(Settings):
    """How well events, frames and clips of a part were found, student and teacher."""

    name: str = Field("sed", description="of the trained run")
    runs: Place = Field(Path("runs/sed"), description="folder of the runs")
    part: FolderName = Field("test", description="part of the data folder, with a strong table")
    events: bool = Field(True, description="event measures too, which need the extra `sed`")


class Report(Settings):
    """What differs between runs, with the noise beside it: Markdown, CSV, JSON, PNG."""

    members: Names = Field(description="names of runs of the same data; the first is the baseline")
    runs: Place = Field(Path("runs/sed"), description="folder of the runs")
    parts: Names = Field(["test"], description="parts of the data folder to compare on")
    events: bool = Field(False, description="event measures too, which need the extra `sed`")
    out: Place = Field(Path("runs/sed/report"), description="folder of the report")


STAGES: dict[str, type[Settings]] = {
    "make-soundscapes": MakeSoundscapes,
    "train": Train,
    "score": Score,
    "evaluate": Evaluate,
    "report": Report,
}

MEANINGS = meanings(STAGES)
