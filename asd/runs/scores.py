"""Score tables: one CSV file per scorer in a folder, and what is known of the clips that were to be scored."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.core.files import atomic, read_json, write_json
from asd.core.runtime import file_hash, fingerprint
from asd.places import find_recordings, recording_key, unreadable
from asd.types import SCORE_COLUMNS, AsdError, Clip, Domain, Label, Split


@dataclass(frozen=True, slots=True)
class ScoredData:
    """The clips that were to be scored; one that is listed here and has no score is missing."""

    root: str  # absolute folder that holds <machine>/test, or its address
    fingerprint: str  # hash of the clips
    trained_sections: tuple[str, ...]  # sections that the model was fitted on
    clips: tuple[tuple[str, str, str], ...]  # (file, section, domain or "") of every test clip
    layout: str = "challenge"  # of the folder; the rules of a challenge's year are for "challenge"
    contents: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of their files, and of a table of them, by path
    stamps: Mapping[str, list[int]] = field(default_factory=dict)  # of those that lie here, see `stamps_of`

    @property
    def sections(self) -> set[str]:
        """Sections of the test clips."""
        return {section for _, section, _ in self.clips}

    @property
    def untrained_sections(self) -> list[str]:
        """Sections that have test clips and had no training clips."""
        return sorted(self.sections - {*self.trained_sections}) if self.trained_sections else []


@dataclass(frozen=True, slots=True)
class ScoreFolder:
    """The scores of one machine's clips by one model."""

    path: Path  # the folder
    machine: str = ""  # whose clips its tables have to be about; "" where that is not asked

    @property
    def scorers(self) -> list[str]:
        """Names of the scorers, sorted; a Mac lays a file ._mse.csv beside mse.csv."""
        return sorted(path.stem for path in self.path.glob("[!.]*.csv"))

    def tables(self) -> dict[str, pd.DataFrame]:
        """All score tables, {scorer: table}."""
        return {scorer: self.table(scorer) for scorer in self.scorers}

    def table(self, scorer: str) -> pd.DataFrame:
        """The score table of one scorer."""
        if scorer not in self.scorers:
            raise AsdError(f"{self.path} has no scores of scorer={scorer}; it has {', '.join(self.scorers) or 'none'}")
        path = self.path / f"{scorer}.csv"
        table = read_scores(path)
        machines = {unicodedata.normalize("NFC", name) for name in table["machine"]}
        if (others := machines - {unicodedata.normalize("NFC", self.machine)}) and self.machine:
            raise AsdError(
                f"{path} holds scores of {min(others)} in the folder of {self.machine}; if it is a copy, remove "
                f"it, else give the folder its name back"
            )
        return table

    def data(self) -> ScoredData | None:
        """What the scores are about; None where nothing was scored."""
        path = self.path / "clips.json"
        content = read_json(path)
        if not content:
            return None
        try:
            clips = tuple((file, section, domain) for file, section, domain in content.pop("clips"))
            trained = tuple(content.pop("trained_sections"))
            return ScoredData(clips=clips, trained_sections=trained, **content)
        except (KeyError, TypeError, ValueError) as error:
            raise AsdError(f"{path} is damaged ({error}); `score` writes it anew") from error

    def changes(self) -> list[str]:
        """What has become of the recordings since they were scored, as sentences; [] where all lie elsewhere by now.

        A file is read again only where its size or a time is another one by now: a run may be a copy, and a clock may
        be set. Those at an address are not looked at.
        """
        data = self.data()
        there = [path for path in map(Path, data.contents) if path.exists()] if data else []
        if not data or not there:
            return []
        since_s = (self.path / "clips.json").stat().st_mtime
        found = [f"{path} has gone" for path in data.contents if not Path(path).exists()]
        for path in there:
            stat, stamp = path.stat(), data.stamps.get(str(path))
            may_differ = _stamp(stat) != stamp
            if not stamp:  # of older runs
                may_differ = max(stat.st_mtime, stat.st_ctime) >= since_s
            if may_differ and file_hash(path) != data.contents[str(path)]:
                found.append(f"{path} has changed")
        if data.layout == "challenge":
            known = {recording_key(file) for file, _, _ in data.clips}
            folders = sorted({path.parent for path in there})
            beside = [path for folder in folders for path in find_recordings(folder)]
            found += [f"{path} has come" for path in beside if recording_key(path.name) not in known]
        return found

    def digest(self) -> str:
        """Hash of the rows of the score tables: another one after a change of any score, label or decision."""
        tables = {
            scorer: (self.path / f"{scorer}.csv").read_text("utf-8-sig", errors="replace").split()
            for scorer in self.scorers
        }
        return fingerprint(tables)

    def write(
        self,
        tables: Mapping[str, pd.DataFrame],
        thresholds: Mapping[str, Mapping[str, Any]],
        data: ScoredData | None = None,
        unscored: Mapping[str, str] | None = None,
        *,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        """Writes everything of a scoring in place of the last one: all of it, or nothing.

        Every score of the tables (by scorer) survives to the last bit. `unscored` says by file name why a test clip has
        no score. `before` is called when all is written aside and nothing but renaming is left to fail.
        """
        files = {f"{scorer}.csv": table.to_csv(index=False) for scorer, table in tables.items()}
        files["thresholds.json"] = json.dumps(thresholds, indent=1) + "\n"
        if data is not None:
            files["clips.json"] = json.dumps(asdict(data), indent=1) + "\n"
        if unscored:
            files["unscored.json"] = json.dumps(unscored, indent=1) + "\n"
        with ExitStack() as stack:
            for name, text in files.items():
                stack.enter_context(atomic(self.path / name)).write_text(text, "utf-8")
            before()
        if not unscored:
            (self.path / "unscored.json").unlink(missing_ok=True)

    @property
    def is_own_data(self) -> bool:
        """Whether the clips are one's own, not the challenge's: no rule of a year holds, some may have no label."""
        data = self.data()
        return data is not None and data.layout != "challenge"

    def thresholds(self) -> dict[str, dict[str, Any]]:
        """The decision threshold of each scorer and how it was found; {} where none is written."""
        path = self.path / "thresholds.json"
        found = read_json(path, self.remedy)
        for scorer, threshold in found.items():
            value = threshold.get("value") if isinstance(threshold, dict) else None
            if not isinstance(value, (int, float)) or not np.isfinite(value):
                raise AsdError(f"{path} is damaged (the one of {scorer} is {value}); {self.remedy}")
        return found

    def has_thresholds(self) -> bool:
        """Whether the thresholds are there and whole."""
        try:
            return bool(self.thresholds())
        except AsdError:
            return False

    @property
    def remedy(self) -> str:
        """What writes damaged files of this folder anew, as the end of a sentence; `score` takes test clips for it."""
        return f"{'`score`' if self.scorers else 'train with the options of the run and overwrite=true'} writes it anew"

    def unscored(self) -> dict[str, str]:
        """File names of the test clips that have no score, and why."""
        return read_json(self.path / "unscored.json")


def stamps_of(paths: Iterable[str]) -> dict[str, list[int]]:
    """Size and times of the files that are there, by which it is seen later that one may be another."""
    return {path: _stamp(Path(path).stat()) for path in paths if Path(path).exists()}


def _stamp(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def score_table(
    clips: Sequence[Clip], scores: npt.NDArray[np.float64], decisions: npt.NDArray[np.int64]
) -> pd.DataFrame:
    """Score table of clips with scores (clips,) and decisions (clips,); `AsdError` where a score is not finite."""
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise AsdError(
            f"the score of {clips[bad[0]].path} is {scores[bad[0]]} ({len(bad)} of {len(clips)} are not finite); "
            f"train again, with other settings or without the clips that cause it"
        )
    rows = [(c.machine, c.section, c.domain or "", c.split.value, c.label or "", c.name) for c in clips]
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS[:6]))
    table["score"], table["decision"] = scores, decisions
    return table


def read_scores(path: Path) -> pd.DataFrame:
    """Reads a score table."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if list(table.columns) != list(SCORE_COLUMNS):
            raise ValueError(f"its columns are {', '.join(table.columns)}")
        table["score"] = table["score"].astype(float)  # by Python: the same bits as were written
        table["decision"] = table["decision"].astype(int)
        _check_rows(table)
    except (OSError, ValueError, OverflowError) as error:
        sentence = f"{path} is not a readable score table ({' '.join(str(error).split())}); `score` writes it anew"
        raise unreadable(path, error, sentence) from error
    return table


def _check_rows(table: pd.DataFrame) -> None:
    """Raises ValueError for a row that no stage could have written; it names the recording."""
    if table.empty:
        return
    allowed = {"label": {"", *Label}, "domain": {"", *Domain}, "split": {*Split}, "decision": {0, 1}}
    wrong = {name: ~table[name].isin(values) for name, values in allowed.items()}
    wrong["score"] = ~np.isfinite(table["score"])
    wrong["machine"] = table["machine"] != table["machine"].iloc[0]
    for name, rows in wrong.items():
        if rows.any():
            row = table[rows].iloc[0]
            raise ValueError(f"{name} {row[name]} of {row['file']}")
    if (twice := table.duplicated(["machine", "section", "file"])).any():
        raise ValueError(f"{table['file'][twice].iloc[0]} is there twice")


def digests(place: Path, folders: Iterable[ScoreFolder]) -> dict[str, str]:
    """Hash of the score tables in each folder, by its path."""
    return {folder.path.relative_to(place).as_posix(): folder.digest() for folder in folders}


def note_scores(file: Path, place: Path, folders: Iterable[ScoreFolder]) -> None:
    """Writes which scores a page or pictures are of, so that `warn_of_run` can tell when they are others."""
    write_json(file, {"scored": digests(place, folders)})
