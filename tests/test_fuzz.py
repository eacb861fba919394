"""Inputs that nobody thought of: names, tables, YAML, WAV headers and zips end in a result or in one sentence.

A few hundred examples in `make test`, 100,000 in `make test-all`.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asd.challenge.csv_files import read_numbers
from asd.challenge.files import read_attributes
from asd.challenge.names import format_name, parse_name
from asd.challenge.system_meta import load_template, meta_defects, meta_warnings, parse_meta
from asd.challenge.unpack import machine_place, unpack
from asd.challenge.years import get_year
from asd.data.audio import read_wav
from asd.places import recording_key
from asd.runs import read_scores
from asd.settings.config import Run
from asd.settings.parsing import parse
from asd.types import SCORE_COLUMNS, AsdError, Clip, Split

FAST, SLOW = 60, {"names": 60_000, "tables": 12_000, "yaml": 8_000, "sound": 12_000, "zips": 8_000}
PLACE = Path(tempfile.gettempdir())

text = st.text(st.characters(codec="utf-8"), max_size=30)
pieces = st.sampled_from(
    ["section", "00", "0000", "source", "target", "train", "test", "normal", "anomaly", "id", "speed", "1", "-1",
     "noAttribute", "", " ", ".wav", ".WAV", "é", "e\u0301", "\n", "\udcff", "/", "\\", "٣", "x" * 200]
)  # fmt: skip
names = st.lists(pieces, max_size=9).map("_".join).map(lambda name: f"{name}.wav") | text
cells = st.sampled_from(
    ["fan/train/a.wav", "a.wav", "speed", "1", "nan", "inf", "1e400", "0x1", "1_0", '"', "'", "", " ", "\x00"]
)
rows = st.lists(st.lists(cells | text, max_size=10).map(",".join), max_size=6)
tables = rows.map("\n".join).map(lambda rest: f"file_name,d1p,d1v\n{rest}".encode()) | st.binary(max_size=60)


def harmless(call: Callable[[], object]) -> object:
    """The result, or one sentence; None where it was refused."""
    try:
        return call()
    except AsdError:
        return None


def spoilt(content: bytes, changes: list[tuple[int, int]], end: int) -> bytes:
    """Bytes changed at some places, and cut."""
    changed = bytearray(content)
    for at, value in changes:
        changed[at % len(changed)] = value
    return bytes(changed[: end % (2 * len(changed)) + 1])


damage = st.tuples(
    st.lists(st.tuples(st.integers(0, 79) | st.integers(0, 4000), st.integers(0, 255)), max_size=6),
    st.integers(0, 9999),
)


def _wav() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(300, np.float32) + 0.1, 16000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in ("train", "test"):
            archive.writestr(f"fan/{folder}/section_00_source_{folder}_normal_0000_x.wav", _wav())
    return buffer.getvalue()


WAV, ZIP = _wav(), _zip()
TEMPLATE = load_template(get_year(2025))


def check_name(name: str) -> None:
    recording_key(name)
    for split in Split:
        clip = harmless(lambda split=split: parse_name(Path(split) / (name or "x"), "fan", split))
        if isinstance(clip, Clip):
            assert clip.split is split
            assert len(clip.section) == 2
            assert all(clip.attributes.values())
            assert str(clip.path).isprintable()


def check_told_name(section: int, number: int, attributes: dict[str, str]) -> None:
    """What a name tells is what was written into it."""
    name = format_name(f"{section:02d}", number, attributes=attributes)
    clip = parse_name(Path(name), "fan", Split.TEST)
    assert (clip.section, clip.name) == (f"{section:02d}", name)
    assert dict(clip.attributes) == attributes


def check_table(content: bytes, folder: Path) -> None:
    path = folder / "attributes_00.csv"
    path.write_bytes(content)
    table = harmless(lambda: read_attributes(folder))
    assert table is None or all(isinstance(value, str) for row in table.values() for value in row.values())  # type: ignore[attr-defined]
    numbers = harmless(lambda: read_numbers(path))
    assert numbers is None or all(isinstance(value, float) for value in numbers.values())  # type: ignore[attr-defined]
    path.write_bytes(content.replace(b"file_name,d1p,d1v", ",".join(SCORE_COLUMNS).encode()))
    scores = harmless(lambda: read_scores(path))
    assert scores is None or list(scores.columns) == list(SCORE_COLUMNS)  # type: ignore[attr-defined]


def check_yaml(content: bytes, folder: Path) -> None:
    meta = parse_meta(content)
    assert all(isinstance(sentence, str) for sentence in meta_defects(meta, TEMPLATE, "A_B_task2_1", ("fan",)))
    assert all(isinstance(sentence, str) for sentence in meta_warnings(meta))
    path = folder / "c.yaml"
    path.write_bytes(content)
    harmless(lambda: parse(Run, [f"config={path}"]))


def check_sound(content: bytes, folder: Path) -> None:
    path = folder / "x.wav"
    path.write_bytes(content)
    found = harmless(lambda: read_wav(path))
    if found is not None:
        waveform, rate_hz = found  # type: ignore[misc]
        assert waveform.ndim == 2
        assert np.isfinite(waveform).all()
        assert rate_hz > 0


def check_zip(content: bytes, folder: Path) -> None:
    path, target = folder / "x.zip", folder / "inside"
    path.write_bytes(content)
    target.mkdir()
    try:
        harmless(lambda: unpack(path, target, machine_place("fan")))
        assert {found.name for found in folder.iterdir()} == {"x.zip", "inside"}
    finally:
        shutil.rmtree(target)


words = st.dictionaries(
    st.from_regex(r"[a-z]{1,5}", fullmatch=True),
    st.from_regex(r"[0-9A-Za-z.]{1,5}", fullmatch=True),
    min_size=1,
    max_size=3,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text | st.integers(), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    ["submission", "system", "results", "label", "authors", "training", "epochs", "machine", "year", "decision"]
)
documents = (
    st.recursive(values, lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=5)
    .map(yaml.safe_dump).map(str.encode)
    | st.text(st.sampled_from("ab:- \n\t[]{}&*!|>#'\"%@,?1.~"), max_size=40).map(str.encode)
    | st.binary(max_size=40)
)  # fmt: skip


def run(check: Callable[..., None], examples: int, *strategies: st.SearchStrategy[object]) -> None:
    """Tries as many examples, each in the same empty folder where the check takes one."""
    relaxed = settings(max_examples=examples, derandomize=False, database=None, suppress_health_check=list(HealthCheck))
    relaxed(given(*strategies)(check))()


KINDS = ("names", "tables", "yaml", "sound", "zips")


def fuzz(kind: str, examples: int, folder: Path) -> None:
    """Fuzzes one kind of input."""
    if kind == "names":
        run(check_name, examples // 2, names)
        run(check_told_name, examples // 2, st.integers(0, 99), st.integers(0, 99999), words)
    elif kind == "tables":
        run(lambda content: check_table(content, folder), examples, tables)
    elif kind == "yaml":
        run(lambda content: check_yaml(content, folder), examples, documents)
    elif kind == "sound":
        run(lambda how: check_sound(spoilt(WAV, *how), folder), examples, damage)
    else:
        run(lambda how: check_zip(spoilt(ZIP, *how), folder), examples, damage)


@pytest.mark.parametrize("kind", KINDS)
def test_anything_ends_in_a_result_or_in_one_sentence(kind: str, tmp_path: Path) -> None:
    fuzz(kind, FAST, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_thousand_things_end_in_a_result_or_in_one_sentence(kind: str, tmp_path: Path) -> None:
    fuzz(kind, SLOW[kind], tmp_path)
