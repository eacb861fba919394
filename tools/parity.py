"""Scores of the same recordings by `predict`, `listen`, `serve` and the exported graph, as a Markdown table.

    python tools/parity.py data=DIR machine=fan [clips=8] [out=FOLDER]

A model is fitted on DIR/<machine>/train, and clips of DIR/<machine>/test are scored.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

import asd
from asd.data.audio import read_sound
from asd.deploy.export import difference, spread_of

COLUMNS = ("predict", "listen", "serve", "graph")


def main() -> None:
    """Prints the table."""
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    with TemporaryDirectory() as folder:
        place, machine = Path(given.get("out", folder)), given["machine"]
        model = asd.fit(Path(given["data"]) / machine / "train", machine=machine, device="cpu")
        model.save(place / "runs/parity")
        every = sorted((Path(given["data"]) / machine / "test").glob("*.wav"))
        clips = every[:: max(1, len(every) // int(given.get("clips", "8")))][: int(given.get("clips", "8"))]
        table = parity(place, place / "runs", "parity", machine, clips)
        print(as_markdown(table, spread_of(model, model.scorers[0])))


def parity(place: Path, runs: Path, name: str, machine: str, clips: Sequence[Path]) -> pd.DataFrame:
    """Scores of clips by each way, one row per clip.

    Args:
        place: where files go that are needed on the way.
        runs, name, machine: which model.
        clips: recordings at the rate of the model, each as long as it likes.

    Returns:
        The columns `COLUMNS`, indexed by the name of the clip.
    """
    found = [
        _predicted(place, runs, name, machine, clips),
        _listened(place, runs, name, machine, clips),
        _served(runs, name, machine, clips),
        _by_graph(place, runs, name, machine, clips),
    ]
    return pd.DataFrame(dict(zip(COLUMNS, found, strict=True)), index=[clip.name for clip in clips])


def as_markdown(table: pd.DataFrame, spread: float) -> str:
    """The table, with how far the others of a row are from the first, see `asd.deploy.export.difference`.

    Args:
        table: from `parity`.
        spread: standard deviation of the training scores.
    """
    lines = [f"| recording | {' | '.join(COLUMNS)} | apart by |", f"|{'---|' * (len(COLUMNS) + 2)}"]
    for name, row in table.iterrows():
        scores = " | ".join(f"{value:.6f}" for value in row)
        lines.append(f"| {name} | {scores} | {difference(row, row.iloc[0], spread):.1e} |")
    return "\n".join(lines)


def _predicted(place: Path, runs: Path, name: str, machine: str, clips: Sequence[Path]) -> list[float]:
    from asd.settings.stages import Predict
    from asd.stages.predicting import predict

    scores = []
    for clip in clips:
        config = Predict(audio=str(clip), name=name, machine=[machine], runs=runs, out=place / "predicted" / clip.stem)
        scores.append(float(predict(config).table["score"].iloc[0]))
    return scores


def _listened(place: Path, runs: Path, name: str, machine: str, clips: Sequence[Path]) -> list[float]:
    """Each clip as a stream that is shorter than a window."""
    from asd.deploy.listen import listen
    from asd.settings.stages import Listen

    scores = []
    for clip in clips:
        folder = place / "listened" / clip.stem
        config = Listen(input=str(clip), name=name, machine=machine, runs=runs, out=folder, window_s=3600)
        listen(config)
        scores.append(float(pd.read_json(folder / "scores.jsonl", lines=True)["score"].iloc[0]))
    return scores


def _served(runs: Path, name: str, machine: str, clips: Sequence[Path]) -> list[float]:
    from starlette.testclient import TestClient

    from asd.deploy.application import application
    from asd.deploy.models import Models
    from asd.settings.stages import Serve

    limits = Serve(megabytes=1000, recordings=len(clips), seconds=3600, rate=1e6)
    files = [("recording", (clip.name, clip.read_bytes())) for clip in clips]
    with TestClient(application(Models(runs, name, "cpu"), limits)) as client:
        said = client.post(f"/score?machine={machine}", files=files).json()
    return [row["score"] for row in said["results"]]


def _by_graph(place: Path, runs: Path, name: str, machine: str, clips: Sequence[Path]) -> list[float]:
    from asd.deploy.export import export, graph_score, session_of
    from asd.settings.stages import Export

    export(Export(name=name, machine=machine, runs=runs, out=place / "model.onnx"))
    session = session_of(place / "model.onnx")
    return [graph_score(session, read_sound(clip).waveform(1)[0]) for clip in clips]


if __name__ == "__main__":
    main()
