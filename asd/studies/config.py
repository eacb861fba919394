"""Options of the studies: `python -m asd study <name> key=value ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from asd.options import AnyNames, Levels, Names, Seeds, Settings, SideBySide, meanings
from asd.places import Place


class Study(SideBySide):
    """Options of every study."""

    seeds: Seeds = Field([0, 1, 2], description="seeds of every cell")
    runs: Place = Field(Path("runs/studies"), description="folder of the studies' results")
    device: str = Field("auto", description="auto, cpu or cuda")

    def settings(self) -> dict[str, Any]:
        """What decides a result apart from the seed: plain values."""
        return self.model_dump(mode="json", exclude={"seeds", "runs", *SideBySide.model_fields})

    def own(self, kind: type[Settings]) -> dict[str, Any]:
        """Those that are options of another kind, too, such as the training loop."""
        return self.model_dump(include=set(kind.model_fields))


class TermWeights(Settings):
    """Weights of the terms of the multi-track loss."""

    active: float = Field(1.0, ge=0, description="weight of a track being active (BCE)")
    asset: float = Field(1.0, ge=0, description="weight of what it shows (cross entropy)")
    scale: float = Field(1.0, ge=0, description="weight of its scale (squared error)")
    position: float = Field(1.0, ge=0, description="weight of its place (squared error)")
    crop: float = Field(1.0, ge=0, description="weight of its crop (squared error)")


class Fusion(Study):
    """Gated, concatenated and added modalities, and each alone, on synthetic multi-track sequences."""

    epochs: int = Field(20, ge=1, description="passes over the training sequences")
    batch_size: int = Field(16, ge=2, description="sequences per step")
    learning_rate: float = Field(3e-3, gt=0, description="of Adam after the warm-up; 1e-4 is full size")
    floor: float = Field(1e-6, ge=0, description="learning rate at the end of the cosine")
    warmup_epochs: int = Field(2, ge=0, description="epochs over which the learning rate rises")
    weight_decay: float = Field(1e-5, ge=0, description="of Adam, a part of the gradient")
    clip_norm: float = Field(1.0, gt=0, description="longest gradient")
    patience: int = Field(0, ge=0, description="epochs without a better validation loss; 0: never stop early")
    weights: TermWeights = TermWeights()
    modality_dropout: float = Field(0.0, ge=0, lt=1, description="probability of withholding a modality")
    n_dims: int = Field(64, ge=4, description="width of the encoder; 256 is full size")
    n_heads: int = Field(4, ge=1, description="attention heads; 8 is full size")
    n_layers: int = Field(2, ge=1, description="encoder layers; 6 is full size")
    n_feedforward: int = Field(128, ge=1, description="hidden width of a layer; 1024 is full size")
    dropout: float = Field(0.1, ge=0, lt=1, description="of the encoder layers")
    n_train: int = Field(512, ge=2, description="sequences to learn from")
    n_valid: int = Field(128, ge=1, description="sequences that choose the epoch")
    n_test: int = Field(512, ge=2, description="sequences that the results are for")
    data_seed: int = Field(0, ge=0, description="of the sequences, the same for every cell")
    n_steps: int = Field(32, ge=8, description="steps of a sequence")
    n_tracks: int = Field(4, ge=4, description="tracks; 20 is full size")
    n_assets: int = Field(10, ge=2, description="what a track can show")
    n_embedding: int = Field(16, ge=1, description="length of the picture's embedding; 512 is full size")
    absent: float = Field(0.15, ge=0, le=1, description="probability that a sequence lacks a modality")
    trouble: float = Field(0.2, ge=0, le=1, description="probability of each gap, of music and of darkness")
    unknown: float = Field(0.05, ge=0, le=1, description="probability of NaN values in a step's picture")


class Halls(Study):
    """Options of the studies on synthetic machines in halls of known noise."""

    snrs_db: Levels = Field([-6, 0, 6], description="machine over noise at the near microphone, in dB")
    detectors: Names = Field(["statistics", "nearest"], description="also autoencoder and embedding")
    train_source: int = Field(60, ge=8, description="normal training clips of the source, per machine")
    train_target: int = Field(10, ge=0, description="normal training clips of the target, per machine")
    test_per_cell: int = Field(15, ge=1, description="test clips per domain and label, per machine")
    duration_s: float = Field(3.0, gt=0.5, description="of a clip")

    def machines(self) -> dict[str, Any]:
        """Keyword arguments of `synthetic.make_machines`."""
        return self.model_dump(include={"train_source", "train_target", "test_per_cell", "duration_s"})


class Microphones(Halls):
    """What each front end for two microphones gains, on synthetic machines at known noise."""


class Supplemental(Halls):
    """What noise-only and clean recordings gain, on synthetic machines at known noise."""

    supplemental: int = Field(40, ge=2, description="noise-only and clean recordings of each machine, each")


class Digits(Study):
    """Raw-waveform classifiers of spoken digits, by known and by unknown speakers, and how they work."""

    data: Place = Field(Path("../shared/data/spoken_digits"), description="folder of <word>_<speaker>_<number>.wav")
    network: str = Field("small", description="small, or a published design: ch32, base, ...")
    held_out: AnyNames = Field([], description="speakers left out in turn; none: all")
    chosen_on: Names = Field(["lucas", "theo"], description="speakers on whom the defaults were chosen")
    tuned: bool = Field(True, description="first filters start as band-passes on the mel scale")
    n_known_test: int = Field(5, ge=1, description="first recordings tested on where the speakers are known")
    sample_rate_hz: int = Field(8000, ge=1000, description="of all recordings")
    duration_s: float = Field(1.024, gt=0, description="to which every recording is padded or cut")
    epochs: int = Field(10, ge=1, description="passes over the training recordings")
    batch_size: int = Field(32, ge=2, description="recordings per step")
    learning_rate: float = Field(2e-3, gt=0, description="of AdamW after the warm-up, then down a cosine")
    weight_decay: float = Field(0.05, ge=0, description="per step and unit of learning rate")
    clip_norm: float = Field(1.0, gt=0, description="longest gradient")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "bfloat16", description="float32, bfloat16 (fast on CPUs with AMX, too), float16, auto"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of a label spread over all words")
    mixup: float = Field(0.0, ge=0, le=1, description="share of recordings mixed with another")
    speed: float = Field(1.25, ge=1, le=2, description="largest factor of speed and pitch")
    shift_s: float = Field(0.1, ge=0, description="largest shift in time")
    filter_db: float = Field(5.0, ge=0, description="spread of a random microphone's gains")
    least_snr_db: float = Field(10.0, description="of the loudest noise added")
    most_snr_db: float = Field(40.0, description="of the softest")

    def settings(self) -> dict[str, Any]:
        """What decides the result of one training: not where the recordings lie, nor what else is trained."""
        whole_study = {*SideBySide.model_fields, "seeds", "runs", "device", "data", "held_out", "chosen_on"}
        return self.model_dump(mode="json", exclude=whole_study)


class SedStudy(Study):
    """Options of the studies of event detection; the soundscapes are made on the way."""

    events: Place = Field(
        Path("../shared/data/spoken_digits/recordings"),
        description="folder of labelled WAVs, as in sed make-soundscapes",
    )
    background: str = Field("synthetic", description="folder of WAVs behind them, or synthetic")
    validation: int = Field(60, ge=1, description="clips that tune thresholds and windows")
    test: int = Field(150, ge=1, description="clips that are measured")
    duration_s: float = Field(4.0, ge=0.5, description="of a clip")
    data_seed: int = Field(0, ge=0, description="of the soundscapes, the same for every cell")
    learning_rate: float = Field(3e-3, gt=0, description="of AdamW after the warm-up, then down a cosine")
    batch_size: int = Field(16, ge=2, description="clips per step")


class Losses(SedStudy):
    """Eight losses of event detection, two networks, on events of unequal length and frequency."""

    epochs: int = Field(20, ge=1, description="passes over the training clips")
    strong: int = Field(240, ge=2, description="training clips")
    duration_ratio: float = Field(16.0, ge=1, description="longest class over shortest")
    longest_s: float = Field(3.0, gt=0, description="length of the longest class")
    frequency_ratio: float = Field(10.0, ge=1, description="most frequent class over rarest")
    networks: Names = Field(["crnn", "transformer"], description="crnn, transformer")
    losses: AnyNames = Field([], description="those of the study to run; none: all")


class Cmt(SedStudy):
    """No teacher, mean teacher, cmt_normal and cmt_neg, student and teacher, on soundscapes with few labels."""

    epochs: int = Field(25, ge=1, description="passes over all clips")
    classes: AnyNames = Field(["0", "1", "2", "3", "4", "5"], description="labels to use; none: all there are")
    strong: int = Field(100, ge=2, description="training clips with onsets and offsets")
    weak: int = Field(100, ge=0, description="training clips with labels only")
    unlabelled: int = Field(200, ge=1, description="training clips without any")


class Reuse(Study):
    """Averaged weights and an activity head in the detector embedding, with and without."""

    data: Place = Field(Path("../shared/data/machines"), description="folder of recorded machines")
    methods: AnyNames = Field([], description="those of the study to run; none: all")
    epochs: int = Field(16, ge=1, description="passes over the training clips")
    segment_samples: int = Field(16000, ge=2048, description="length of an encoder's input")
    synthetic: Names = Field(["fan", "valve"], min_length=1, description="synthetic machines")
    train_source: int = Field(60, ge=8, description="synthetic: normal training clips of the source")
    train_target: int = Field(6, ge=0, description="synthetic: normal training clips of the target")
    test_per_cell: int = Field(15, ge=1, description="synthetic: test clips per domain and label")
    duration_s: float = Field(2.0, gt=0.5, description="synthetic: of a clip")

    def machines(self) -> dict[str, Any]:
        """Keyword arguments of `synthetic.make_machines`."""
        counts = self.model_dump(include={"train_source", "train_target", "test_per_cell", "duration_s"})
        return {"machines": self.synthetic, **counts}


STAGES: dict[str, type[Settings]] = {
    "cmt": Cmt,
    "digits": Digits,
    "fusion": Fusion,
    "losses": Losses,
    "microphones": Microphones,
    "reuse": Reuse,
    "supplemental": Supplemental,
}

MEANINGS = meanings(STAGES)
