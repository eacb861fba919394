"""Recordings of one's own whose folders, names, formats and tables are not as they should be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from tests.faults.fault import Defect, Done, Fault, Refused, Same, Warned

PUMP = Path("own/pump")
NORMAL, LEAK = PUMP / "normal", PUMP / "leak"


def lay_out(source: Path) -> None:
    """own/pump/{normal,leak} from the recordings of a machine in the challenge's layout."""
    for folder, pattern in ((NORMAL, "train/*.wav"), (LEAK, "test/*anomaly*.wav")):
        folder.mkdir(parents=True)
        for i, path in enumerate(sorted(source.glob(pattern))):
            shutil.copyfile(path, folder / f"{folder.name} 2026-03-{i + 1:02d}.wav")


def a_recording(folder: Path = NORMAL) -> Path:
    return sorted(folder.glob("*.wav"))[-1]


def copied(*places: str) -> Callable[[], object]:
    """A normal recording in other places, too."""

    def plant() -> None:
        for place in places:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(a_recording(), place)

    return plant


def moved(folder: Path, to: str) -> Callable[[], object]:
    return lambda: (Path(to).parent.mkdir(parents=True, exist_ok=True), shutil.move(folder, to))


def linked(folder: Path) -> Callable[[], object]:
    """The folder lies on another disk."""
    return lambda: (shutil.move(folder, "far"), folder.symlink_to(Path("far").resolve()))


def written(place: Path, content: bytes) -> Callable[[], object]:
    return lambda: place.write_bytes(content)


def coded(folder: Path, suffix: str, rate_hz: int = 16000) -> Callable[[], object]:
    """Every recording of a folder in another format, at another rate."""

    def plant() -> None:
        for path in sorted(folder.glob("*.wav")):
            samples, _ = soundfile.read(path)
            path.unlink()
            soundfile.write(path.with_suffix(suffix), np.repeat(samples, 3 if rate_hz > 16000 else 1), rate_hz)

    return plant


def listed(*rows: str) -> Callable[[], object]:
    return lambda: Path("own/recordings.csv").write_text("\n".join(rows))


A_ROW = "pump/normal/normal 2026-03-01.wav"
WAVE = NORMAL / "x.wav"
NOT_READ = {"train own": Refused("x.wav"), "predict": Defect("x.wav")}
FAULTS = [
    Fault("own recordings lie loose beside the folders", copied("own/loose.wav"), {"train own": Refused("loose.wav lies in no folder that says"), "predict": Done()}),
    Fault("own faults lie in the training folder", copied("own/pump/train/leak/x.wav"), {"train own": Refused("lies in leak/, as normal recordings do, and nothing says what it is")}),
    Fault("own normal recordings are gone", lambda: [p.unlink() for p in NORMAL.iterdir()], {"train own": Refused("own"), "predict": Done()}),
    Fault("own recordings are all gone", lambda: (shutil.rmtree("own"), Path("own").mkdir()), {"train own": Refused("own"), "predict": Refused("own holds no recordings")}),
    Fault("own normal recordings lie a folder deeper", lambda: (shutil.move(NORMAL, "x"), NORMAL.mkdir(), shutil.move("x", NORMAL / "hall 3")), {"train own": Same()}),
    Fault("own folders are in capitals", moved(NORMAL, "own/pump/NORMAL"), {"train own": Same()}),
    Fault("own folders are nested in train and test", lambda: (moved(NORMAL, "own/pump/train/good")(), moved(LEAK, "own/pump/test/leak")()), {"train own": Same()}),
    Fault("own normal recordings are a link", linked(NORMAL), {"train own": Same(), "predict": Done()}),
    Fault("an own folder links to the one around it", lambda: (PUMP / "again").symlink_to("..", target_is_directory=True), {"train own": Done(), "predict": Done()}),
    Fault("an own recording is a link to nowhere", lambda: WAVE.symlink_to("gone.wav"), NOT_READ),
    Fault("an own recording is a link to itself", lambda: WAVE.symlink_to("x.wav"), NOT_READ),
    Fault("an own recording is text", written(WAVE, b"no sound at all"), NOT_READ),
    Fault("an own recording is empty", written(WAVE, b""), NOT_READ),
    Fault("an own folder holds notes and a hidden folder", lambda: ((NORMAL / "notes.txt").write_text("x"), copied("own/pump/normal/.trash/x.wav")()), {"train own": Same(), "predict": Done()}),
    Fault("own recordings of two folders have one name", copied("own/pump/normal/a/x.wav", "own/pump/normal/b/x.wav"), {"train own": Done(), "predict": Done()}),
    Fault("own recordings have accents and blanks in their names", copied("own/pump/normal/März  früh é.wav"), {"train own": Done(), "predict": Done()}),
    Fault("an own recording has a name that is no UTF-8", lambda: copied(os.fsdecode(b"own/pump/normal/\xff.wav"))(), {"train own": Refused("udcff.wav' has a name that is no UTF-8; rename it"), "predict": Defect("udcff.wav")}),
    Fault("own recordings are at 44100 Hz", coded(NORMAL, ".flac", 44100), {"train own": Done(), "predict": Done()}),
    Fault("own faults are compressed and normal recordings are not", coded(LEAK, ".mp3"), {"train own": Warned("2 of|compressed with a loss"), "predict": Warned("compressed with a loss")}),
    Fault("an own table names a recording that is not there", listed("path,label", "gone.wav,normal"), {"train own": Refused("gone.wav")}),
    Fault("an own table names a recording twice", listed("path,label", f"{A_ROW},normal", f"{A_ROW},normal"), {"train own": Refused("named twice|2026-03-01")}),
    Fault("an own table has a label that there is not", listed("path,label", f"{A_ROW},fine"), {"train own": Refused("has the label 'fine'")}),
    Fault("an own table has no column of paths", listed("sound,label", f"{A_ROW},normal"), {"train own": Refused("none is called path")}),
]  # fmt: skip
