"""The options of the stages that fit nothing themselves; those of a run are in `config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from asd.options import Execution, Given, Names, ResultFolder, RunName, Seeds, Settings, SideBySide
from asd.places import Place, address_of

DEFAULT_DETECTOR = "statistics"

RuleYear = Annotated[
    int | None, Field(description="of the metric rule, by default the training's; plain AUC and pAUC of own recordings")
]


class OfRun(Settings):
    """Which trained run is meant, and which scores of it."""

    name: str = Field(DEFAULT_DETECTOR, description="name of the run")
    scorer: str | None = Field(None, description="whose score, by default the run's default")
    seed: int | None = Field(None, ge=0, description="which seed, by default the run's first")
    runs: Place = Field(Path("runs"), description="folder of all runs")


class Selection(Settings):
    """Which of a year's data is meant, and where it lies."""

    year: int = Field(2025, description="challenge year")
    machine: Names = Field(["all"], description="machine, several separated by commas, or all")
    part: Literal["dev", "train", "eval", "all"] = Field(
        "all", description="dev, train (of the evaluation machines), eval (their test clips, labels), all"
    )
    data: Place | None = Field(None, description="folder of the year, by default data/dcase<year>t2")


class Data(Selection):
    """Options of `data`."""

    workers: int = Field(4, ge=1, le=32, description="files fetched and unpacked at the same time")
    keep: bool = Field(False, description="keep the zip files in <data>/archives")
    overwrite: bool = Field(False, description="fetch anew, and replace clips that were put there by hand")
    keep_going: bool = Field(False, description="an archive that fails does not stop the others")
    archive: str = Field("https://zenodo.org", description="address of the archive of records")
    evaluators: str = Field("https://codeload.github.com", description="address of the evaluators' host")


class DataCheck(Selection):
    """Options of `data-check`."""

    quick: bool = Field(False, description="compare names and sizes only, open no recording")


class Evaluate(Settings):
    """Options of `evaluate`: a run (name=), or submissions against ground truth (submission=)."""

    name: str = Field(DEFAULT_DETECTOR, description="run to evaluate")
    runs: Place = Field(Path("runs"), description="folder of all runs")
    year: RuleYear = None
    machine: Names = Field(["all"], description="machines to evaluate, by default all that the run should have")
    data: Place | None = Field(None, description="other recordings that were scored, instead of the run's own")
    part: Literal["dev", "eval"] = Field("dev", description="dev: labels by name; eval: by ground truth")
    scorer: str | None = Field(None, description="scorer the official score is quoted for")
    submission: Path | None = Field(None, description="a system's folder of CSVs, or a folder of such")
    ground_truth: Place | None = Field(None, description="folder of labels, by default where data puts them")
    out: Path | None = Field(None, description="where the official result files go")
    json_: Path | None = Field(None, alias="json", description="also write the result to this JSON file")
    page: Path | None = Field(None, description="document whose table of decisions between markers is replaced")


class Leaderboard(Settings):
    """Options of `leaderboard`."""

    members: Names = Field([], description="runs to rank, each RUN or RUN:SCORER; by default all")
    machine: Names = Field(["all"], description="machines to rank on, by default all that the runs share")
    reference: str | None = Field(None, description="member that differences refer to, by default the best")
    year: RuleYear = None
    part: Literal["dev", "eval"] = Field("dev", description="dev: labels by name; eval: by ground truth")
    ground_truth: Place | None = Field(None, description="part=eval: folder of labels, by default where data puts them")
    runs: Place = Field(Path("runs"), description="folder of all runs")


class Predict(OfRun, Execution):
    """Options of `predict`."""

    leading: ClassVar = ("audio", "name", "machine", "out", "fail_on_anomaly", "confirm_normal", "undo")

    audio: Given | None = Field(None, description="recordings: a file, a folder, a pattern or a table of paths")
    machine: Names = Field(["all"], description="whose recordings they are, by default as their folders say")
    section: str | None = Field(None, description="whose section they are, by default as their names say")
    out: ResultFolder | None = Field(None, description="folder of the result, by default predictions/<name>/<audio>")
    fail_on_anomaly: bool = Field(False, description="exit code 3 where a recording is called anomalous")
    confirm_normal: bool = Field(False, description="then add all of them to the bank of normal recordings")
    undo: bool = Field(False, description="take back what was added last, instead of scoring anything")
    device: str = Field("auto", description="auto, cpu or cuda")

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.undo and (self.audio is not None or self.confirm_normal):
            raise ValueError("undo= takes back what was added last; leave audio= and confirm_normal= out")
        if self.audio is None and not self.undo:
            raise ValueError("audio= is missing; name a file, a folder, a pattern or a table of recordings")
        if (address := address_of(self.runs)) and (self.undo or self.confirm_normal):
            raise ValueError(f"a bank at runs={address} is not changed; do it in a folder of this computer")
        return self


class Explain(OfRun):
    """Options of `explain`."""

    machine: Names = Field(["all"], description="machine, several separated by commas, or all of the run")
    data: Place | None = Field(None, description="other recordings that were scored, instead of the test clips")
    audio: Given | None = Field(None, description="any recordings instead, which are scored first by predict")
    predictions: Place | None = Field(None, description="predictions.csv of predict instead")
    clip: str | None = Field(None, description="path or file name of a clip; by default the worst ones")
    worst: int = Field(3, ge=1, description="how many highest normal and lowest anomalous clips")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("data", "audio", "predictions") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]}= and {given[1]}= name different clips; give one of them")
        return self


class Report(OfRun):
    """Options of `report`."""

    members: Names = Field([], description="runs to compare it with, each RUN or RUN:SCORER")
    machine: Names = Field(["all"], description="machine, several separated by commas, or all of the run")
    year: RuleYear = None
    predictions: Place | None = Field(None, description="predictions.csv to show instead of the test clips")
    clips: int = Field(20, ge=0, description="clips of each machine to look at and listen to; 0: none")
    explained: int = Field(3, ge=0, description="how many of them with a picture of what moved the score")
    audio: Literal["flac", "opus"] = Field("opus", description="flac (as recorded) or opus (a quarter of it)")
    megabytes: float = Field(25.0, gt=0, description="most that sounds and pictures take")
    out: Place | None = Field(None, description="the file, by default report.html of the run or beside predictions")


class Submit(OfRun):
    """Options of `submit`."""

    label: str = Field(description="<LastName>_<Institute>_task2_<1-4>, such as Nishida_HIT_task2_1")
    year: int = Field(2025, description="challenge year")
    machine: Names = Field(["auto"], description="machines to package, by default the year's evaluation set")
    development: str | None = Field(None, description="run with the results for the meta file, by default the same")
    authors: Path | None = Field(None, description="YAML file that fills in authors and the like")
    template: Path | None = Field(None, description="the official meta template, instead of ours")
    out: Path = Field(Path("submissions"), description="folder of all packages")
    dry_run: bool = Field(False, description="show what would be packaged, write nothing")


class Checked(Settings):
    """What a package is checked against."""

    year: int = Field(2025, description="challenge year")
    data: Path | None = Field(None, description="data folder whose test clips must all be scored")
    template: Path | None = Field(None, description="the official meta template, instead of ours")


class Bundle(Checked):
    """Options of `bundle`."""

    team: str = Field(description="<LastName>_<Institute>, with which the labels of the systems begin")
    report: Path | None = Field(None, description="technical report, a PDF")
    out: Path = Field(Path("submissions"), description="folder of all packages, and of the archive")
    dry_run: bool = Field(False, description="show what would be archived, write nothing")


class Validate(Checked):
    """Options of `validate`."""

    path: Path = Field(description="package folder, its zip, or a folder of up to four systems")


class Benchmark(SideBySide):
    """Options of `benchmark`."""

    data: Place = Field(description="folder of the recordings, in any layout")
    methods: Path = Field(Path("configs/benchmark.yaml"), description="YAML file of label: options of train")
    detectors: Names = Field(["all"], description="detectors whose methods are measured, by default all")
    machine: Names = Field(["all"], description="machines to measure on")
    seeds: Seeds = Field([0, 1, 2], description="seeds of every method")
    scorers: Literal["default", "all"] = Field("default", description="scorers in the table")
    year: RuleYear = None
    part: Literal["dev", "eval"] = Field("dev", description="labels: in the names, or published (eval)")
    ground_truth: Place | None = Field(None, description="part=eval: folder of the published labels")
    reference: str | None = Field(None, description="method that others are compared with, by default the first of all")
    page: Path | None = Field(None, description="document whose table between markers is replaced")
    runs: Place = Field(Path("runs/benchmark"), description="folder of the runs and the table")
    overwrite: bool = Field(False, description="start anew where a run of other recordings, options or code lies")


class Reproduce(SideBySide):
    """Options of `reproduce`."""

    year: int = Field(2023, description="challenge year")
    machine: Names = Field(["all"], description="machines, by default all that were published")
    methods: Path = Field(Path("configs/reproduce.yaml"), description="YAML file of label: options of train")
    published: Path = Field(Path("configs/published.yaml"), description="YAML file of scores to compare with")
    seeds: Seeds = Field([0, 1, 2], description="seeds of every method")
    data: Place | None = Field(None, description="folder of the year, by default data/dcase<year>t2")
    runs: Place = Field(Path("runs/reproduce"), description="folder of the runs and the tables")
    overwrite: bool = Field(False, description="start anew where a run of other recordings, options or code lies")
    archive: str = Field("https://zenodo.org", description="address of the archive of records")
    evaluators: str = Field("https://codeload.github.com", description="address of the evaluators' host")


class Sweep(SideBySide):
    """Options of `sweep`."""

    data: Place = Field(description="folder that holds <machine>/train, and test for judge=labels or others")
    space: Place = Field(description="YAML file of options of train: a list, or low and high, of values each")
    method: Literal["grid", "random", "optuna"] = Field(
        "grid", description="grid: all combinations; random; optuna: guided, and bad trials end early"
    )
    trials: int = Field(20, ge=1, le=10_000, description="configurations of random and optuna, earlier ones included")
    judge: Literal["faults", "others", "labels"] = Field(
        "faults",
        description="faults: normal clips with planted faults; labels: those of the test clips; others: for each "
        "machine those of the other machines",
    )
    machine: Names = Field(["all"], description="machines to try them on")
    year: RuleYear = None
    seeds: Seeds = Field([0], description="seeds of every training")
    seed: int = Field(0, ge=0, lt=2**31, description="of the planted faults and of the draws of configurations")
    device: str = Field("auto", description="auto, cpu or cuda")
    name: RunName = Field("sweep", description="name of the sweep")
    runs: Place = Field(Path("runs/sweeps"), description="folder of all sweeps")

    @property
    def folder(self) -> Path:
        """Where everything of the sweep lies."""
        return self.runs / self.name


class Drifting(Settings):
    """When normal scores count as others than those of the training clips."""

    windows: int = Field(50, ge=5, description="windows of a look, which do not overlap and raise no alarm")
    per_day: float = Field(0.01, ge=0, le=1, description="false warnings expected in a day of sound; 0: no test")


class Listen(OfRun):
    """Options of `listen`."""

    input: str = Field(min_length=1, description="- (standard input), a file, a folder to watch, or a sound card")
    machine: str | None = Field(None, description="whose model, by default the only one of the run")
    section: str | None = Field(None, description="which section of the machine it is, by default 00")
    out: ResultFolder | None = Field(None, description="folder of what is found, by default listening/<run>/<machine>")
    window_s: float | None = Field(None, gt=0, le=3600, description="seconds of a score; by default a training clip")
    hop_s: float | None = Field(None, gt=0, description="seconds from one window to the next; by default a quarter")
    threshold: float | None = Field(None, description="scores above are suspicious; by default the run's")
    smooth: int = Field(3, ge=1, le=10_000, description="windows whose mean score counts")
    duration_s: float = Field(5.0, ge=0, le=3600, description="seconds above the threshold before an alarm is raised")
    hysteresis: float = Field(0.25, ge=0, le=1, description="an alarm ends so far on the way from threshold to median")
    before_s: float = Field(10.0, ge=0, le=600, description="seconds before an alarm that are recorded with it")
    after_s: float = Field(10.0, ge=0, le=600, description="seconds after it")
    webhook: str | None = Field(None, repr=False, description="address that every event is sent to; see webhook_secret")
    webhook_secret: str | None = Field(None, repr=False, description="signs it; by default that of ASD_WEBHOOK_SECRET")
    mqtt: str | None = Field(None, repr=False, description="mqtt://[user:password@]host[:port]/topic, or mqtts://")
    drift: Drifting = Drifting()
    format: Literal["s16le", "s24le", "s32le", "f32le"] = Field(
        "s16le", description="samples of standard input that is no WAV"
    )
    channels: int = Field(1, ge=1, le=64, description="channels of such input, and of a sound card")
    device: str = Field("cpu", description="auto, cpu or cuda")


LEAST_TOKEN = 16  # characters


class Serve(Settings):
    """Options of `serve`."""

    runs: Place = Field(Path("runs"), description="folder of all runs, whose models are served")
    name: str | None = Field(None, description="serve this run only")
    host: str = Field("127.0.0.1", description="address to listen at; any other one needs token=")
    port: int = Field(8000, ge=0, le=65535, description="port to listen at; 0: a free one")
    token: str | None = Field(
        None, min_length=LEAST_TOKEN, repr=False, description="what callers have to show; by default that of ASD_TOKEN"
    )
    megabytes: float = Field(64.0, gt=0, description="most that a request may hold")
    recordings: int = Field(64, ge=1, description="most recordings of a request")
    seconds: float = Field(600.0, gt=0, description="longest recording")
    rate: float = Field(600.0, gt=0, description="requests of a caller in a minute")
    concurrency: int = Field(64, ge=1, description="requests that may wait or be worked on at once")
    timeout_s: float = Field(60.0, gt=0, description="longest that a request may take")
    workers: int = Field(1, ge=1, le=64, description="recordings scored at once")
    device: str = Field("cpu", description="auto, cpu or cuda")


class Export(OfRun):
    """Options of `export`."""

    out: Path = Field(description="the file, such as fan.onnx")
    machine: str | None = Field(None, description="whose model, by default the only one of the run")
