"""The options of a model at work: `listen`, `serve`, `export`; those of the other stages are in `config`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from asd.options import Settings


class Drifting(Settings):
    """When normal scores count as others than those of the training clips."""

    windows: int = Field(50, ge=5, description="windows of a look, which do not overlap and raise no alarm")
    per_day: float = Field(0.01, ge=0, le=1, description="false warnings expected in a day of sound; 0: no test")


class Listen(Settings):
    """Options of `listen`."""

    input: str = Field(description="- (standard input), a file, a folder to watch, or a sound card")
    name: str | None = Field(None, description="run that listens, by default the default detector's")
    machine: str | None = Field(None, description="whose model, by default the only one of the run")
    section: str | None = Field(None, description="which section of the machine it is, by default 00")
    out: Path | None = Field(None, description="folder of what is found, by default listening/<run>/<machine>")
    window_s: float | None = Field(None, gt=0, description="seconds that get a score; by default a training clip")
    hop_s: float | None = Field(None, gt=0, description="seconds from one window to the next; by default a quarter")
    threshold: float | None = Field(None, description="scores above are suspicious; by default the run's")
    smooth: int = Field(3, ge=1, description="windows whose mean score counts")
    duration_s: float = Field(5.0, ge=0, description="seconds above the threshold before an alarm is raised")
    hysteresis: float = Field(
        0.25, ge=0, le=1, description="an alarm ends so far on the way from the threshold to the median"
    )
    before_s: float = Field(10.0, ge=0, le=600, description="seconds before an alarm that are recorded with it")
    after_s: float = Field(10.0, ge=0, le=600, description="seconds after it")
    webhook: str | None = Field(None, description="address that every event is sent to; see webhook_secret")
    webhook_secret: str | None = Field(None, description="signs what is sent; by default what ASD_WEBHOOK_SECRET holds")
    mqtt: str | None = Field(None, description="mqtt://[user:password@]host[:port]/topic, or mqtts://")
    drift: Drifting = Drifting()
    format: Literal["s16le", "s24le", "s32le", "f32le"] = Field(
        "s16le", description="samples of standard input that is no WAV"
    )
    channels: int = Field(1, ge=1, le=64, description="channels of such input, and of a sound card")
    scorer: str | None = Field(None, description="whose score, by default the run's default")
    seed: int | None = Field(None, ge=0, description="which seed, by default the run's first")
    device: str = Field("cpu", description="auto, cpu or cuda")
    runs: Path = Field(Path("runs"), description="folder of all runs")


class Serve(Settings):
    """Options of `serve`."""

    runs: Path = Field(Path("runs"), description="folder of all runs, whose models are served")
    name: str | None = Field(None, description="serve this run only")
    host: str = Field("127.0.0.1", description="address to listen at; any other one needs token=")
    port: int = Field(8000, ge=0, le=65535, description="port to listen at; 0: a free one")
    token: str | None = Field(
        None, min_length=16, description="what callers have to show; by default what ASD_TOKEN holds"
    )
    megabytes: float = Field(64.0, gt=0, description="most that a request may hold")
    recordings: int = Field(64, ge=1, description="most recordings of a request")
    seconds: float = Field(600.0, gt=0, description="longest recording")
    rate: float = Field(600.0, gt=0, description="requests of a caller in a minute")
    concurrency: int = Field(64, ge=1, description="requests that may wait or be worked on at once")
    timeout_s: float = Field(60.0, gt=0, description="longest that a request may take")
    workers: int = Field(1, ge=1, le=64, description="recordings scored at once")
    device: str = Field("cpu", description="auto, cpu or cuda")


class Export(Settings):
    """Options of `export`."""

    out: Path = Field(description="the file, such as fan.onnx")
    name: str | None = Field(None, description="run that is exported, by default the default detector's")
    machine: str | None = Field(None, description="whose model, by default the only one of the run")
    scorer: str | None = Field(None, description="whose score, by default the run's default")
    seed: int | None = Field(None, ge=0, description="which seed, by default the run's first")
    runs: Path = Field(Path("runs"), description="folder of all runs")
