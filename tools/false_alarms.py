"""False alarms of `listen` per hour of normal sound, by machine, as a Markdown table.

    python tools/false_alarms.py data=DIR [orders=3] [rates=0.1,0.01]

Each machine of DIR is fitted to its train/, once for each `decision.false_alarm_rate`. The stream is the normal
clips of its test/, which are new to it, end to end in random orders: windows cross the joints, which no plant has.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

import asd
from asd.data.audio import read_wav
from asd.data.codecs import write_wav
from asd.deploy.listen import listen
from asd.settings.stages import Listen


def main() -> None:
    """Prints a row per machine and rate, and one of all machines."""
    given = {"orders": "3", "rates": "0.1,0.01", **dict(word.split("=", 1) for word in sys.argv[1:])}
    data, orders = Path(given["data"]), int(given["orders"])
    print("| machine | false-alarm rate of the threshold | minutes | windows above | alarms | an hour |")
    print("|---|---|---|---|---|---|")
    for rate in map(float, given["rates"].split(",")):
        heard = [_heard(folder, rate, orders) for folder in sorted(data.iterdir()) if (folder / "train").is_dir()]
        seconds, alarms = sum(h[1] for h in heard), sum(h[3] for h in heard)
        above = float(np.average([h[2] for h in heard], weights=[h[1] for h in heard]))
        for row in (*heard, ("all", seconds, above, alarms)):
            print(_row(rate, *row), flush=True)


def _row(rate: float, name: str, seconds: float, above: float, alarms: int) -> str:
    per_hour = 3600 * alarms / seconds
    return f"| {name} | {rate:g} | {seconds / 60:.0f} | {100 * above:.0f} % | {alarms} | {per_hour:.1f} |"


def _heard(folder: Path, rate: float, orders: int) -> tuple[str, float, float, int]:
    """Machine, seconds scored, share of windows above the threshold, alarms."""
    options = {"decision.false_alarm_rate": rate}
    model = asd.fit(folder / "train", machine=folder.name, options=options, device="cpu")
    sounds = [read_wav(path)[0][0] for path in sorted((folder / "test").glob("*_normal_*.wav"))]
    seconds, above, alarms = 0.0, [], 0
    with TemporaryDirectory() as place:
        model.save(Path(place) / "runs/normal", folder.name)
        for order in range(orders):
            shuffled = np.random.default_rng(order).permutation(len(sounds))
            stream, out = Path(place) / "stream.wav", Path(place) / str(order)
            write_wav(stream, np.concatenate([sounds[i] for i in shuffled])[None], model.options.sample_rate_hz)
            found = listen(Listen(input=str(stream), name="normal", runs=Path(place) / "runs", out=out, before_s=0))
            scores = pd.read_json(out / "scores.jsonl", lines=True)["score"]
            above.append(float((scores > model.thresholds[model.scorers[0]].value).mean()))
            seconds, alarms = seconds + found.seconds, alarms + found.n_alarms
    return folder.name, seconds, float(np.mean(above)), alarms


if __name__ == "__main__":
    main()
