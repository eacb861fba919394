"""`predict`: any recordings with a trained run, which stays as it is; in pieces, and resumable."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import asd as library
from asd.core.executors import Finished, LostError, attempt
from asd.core.files import alone, read_json, write_json
from asd.data.audio import read_wav
from asd.data.codecs import write_wav
from asd.data.recordings import Recordings
from asd.detectors.base import Scores
from asd.detectors.statistics import Statistics
from asd.library import Model
from asd.stages import predicting
from asd.stages.predictions import COLUMNS, warn_of_defects
from asd.types import AsdError, Clip, Split
from tests.command import ONE_VIEW, asd, contents, refuses, succeeds, train_on_tones
from tests.machines import tone_machine, two_sections, write_clip

ROOT = Path(__file__).parents[1]
RUN = Path("runs/statistics/fan/seed0")
RESULT = Path("predictions/statistics/inbox/predictions.csv")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("predicting")
    train_on_tones(root, 14, 3, ONE_VIEW)
    return root


@pytest.fixture
def inbox(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The clips of test/ under names of one's own, in a folder of their own beside the run."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    folder = Path("inbox")
    (folder / "monday shift").mkdir(parents=True)
    for i, path in enumerate(sorted(Path("data/fan/test").glob("*.wav"))):
        label = "odd" if "anomaly" in path.name else "fine"
        shutil.copy(path, folder / "monday shift" / f"Take {i:02d} {label}.wav")
    return folder


def assert_same(table: pd.DataFrame, other: pd.DataFrame) -> None:
    """The same rows, but for the rounding of features that are computed in other batches."""
    tables = [each.sort_values("path", ignore_index=True) for each in (table, other)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)


def test_scores_are_those_of_the_run_which_stays_as_it_is(inbox: Path) -> None:
    before = contents(Path("runs"))
    answer = succeeds("predict", f"audio={inbox}")
    assert contents(Path("runs")) == before
    table = pd.read_csv(RESULT)
    assert tuple(table.columns) == COLUMNS
    own = pd.read_csv(RUN / "scores/ensemble.csv").sort_values("file")
    by_path = table.sort_values("path")
    assert by_path["score"].tolist() == own["score"].tolist()
    assert by_path["decision"].tolist() == own["decision"].tolist()
    assert table["rank"].tolist() == [*range(1, len(table) + 1)]
    assert table["score"].is_monotonic_decreasing
    assert {*table["path"].head(3)} <= {str(path) for path in inbox.rglob("*odd.wav")}
    assert "skipped" not in answer.out
    first, header, *rows, written, _ = answer.out.splitlines()
    above = f"{table['decision'].sum()} above the threshold of {table['threshold'][0]:.4g}"
    assert first == f"fan: {len(table)} recordings, {above}"
    assert header.split() == ["rank", "score", "decision", "normal_above", "path"]
    shown = [row.split(maxsplit=4) for row in rows]
    assert [(row[0], row[1], row[-1]) for row in shown] == [
        (str(rank + 1), f"{table['score'][rank]:.3f}", table["path"][rank]) for rank in range(10)
    ]
    assert written == f"written: {RESULT}"


def test_recordings_are_of_the_section_that_is_named(inbox: Path) -> None:
    succeeds("predict", f"audio={inbox}", "section=0")
    assert {*pd.read_csv(RESULT, dtype=str)["section"]} == {"00"}
    refuses("predict", f"audio={inbox}", "section=07", saying="section=07 is none .* it has 00")


def test_every_column_is_what_it_is_said_to_be(inbox: Path) -> None:
    succeeds("predict", f"audio={inbox}")
    table = pd.read_csv(RESULT)
    training = pd.read_csv(RUN / "model/training_scores.csv")["ensemble"].to_numpy()
    shares = [np.mean(training > score) for score in table["score"]]
    np.testing.assert_allclose(table["normal_above"], shares)
    assert (table["decision"] == (table["score"] > table["threshold"])).all()
    assert {*table["nearest"]} <= {str(path) for path in Path("data/fan/train").glob("*.wav")}


def test_the_nearest_normal_recording_of_a_quieter_copy_is_the_original(inbox: Path) -> None:
    originals = sorted(Path("data/fan/train").glob("*.wav"))[3:6]
    for i, path in enumerate(originals):
        waveform, rate = read_wav(path)
        write_wav(inbox / f"copy{i}.wav", 0.5 * waveform, rate)
    table = library.load("runs/statistics").score_files(sorted(inbox.glob("copy*.wav")))
    assert table["nearest"].tolist() == [str(path) for path in originals]


def test_a_recording_without_a_sound_is_named_wherever_it_gets_a_score(inbox: Path) -> None:
    silence = np.zeros((1, 16000), np.float32)
    write_wav(inbox / "silent.wav", silence, 16000)
    answer = succeeds("predict", f"audio={inbox}")
    said = r"silent\.wav is silent \(all samples are zero\): it has a score, but not a meaningful one"
    assert re.search(f"WARNING: .*{said}", answer.err)
    table = pd.read_csv(RESULT, keep_default_na=False).set_index("path")["defect"]
    assert table[str(inbox / "silent.wav")] == "is silent (all samples are zero)"
    assert {*table.drop(str(inbox / "silent.wav"))} == {""}
    model = library.load("runs/statistics")
    assert model.score(silence[0], 16000).defect == "is silent (all samples are zero)"
    assert model.score(silence[0] + np.sin(np.arange(16000)), 16000).defect is None
    assert model.score_files(inbox / "silent.wav")["defect"].tolist() == ["is silent (all samples are zero)"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]\n", b'{"model": 1, "found": [[1, 2]]}\n', b"{"])
def test_notes_of_an_interrupted_command_that_are_none_are_passed_over(inbox: Path, content: bytes) -> None:
    Path("notes").mkdir()
    Path("notes/.predictions.partial.jsonl").write_bytes(content)
    succeeds("predict", f"audio={inbox}", "out=notes")
    assert len(pd.read_csv("notes/predictions.csv")) == len([*inbox.rglob("*.wav")])


def test_a_note_that_was_cut_off_hides_none_before_or_behind_it(tmp_path: Path) -> None:
    clips = [Clip(tmp_path / name, "fan", "00", Split.TEST) for name in ("a.wav", "b.wav")]
    rows = [
        {"path": str(clip.path), "machine": "fan", "score": score}
        for clip, score in zip(clips, (1.5, 2.5), strict=True)
    ]
    line = json.dumps({"model": "m", "found": [[rows[0]["path"], [], rows[0]]]})
    (tmp_path / "notes").write_text(f"{line}\n{line[:50]}")
    journal = predicting.Journal(tmp_path / "notes")
    assert journal.begin("other", clips) == clips
    assert journal.begin("m", clips) == clips[1:]
    journal.add("m", pd.DataFrame(rows[1:]), [])
    again = predicting.Journal(tmp_path / "notes")
    assert again.begin("m", clips) == []
    assert again.of(clips)[0]["score"].tolist() == [2.5, 1.5]


def test_what_cannot_be_used_is_skipped_and_named(inbox: Path) -> None:
    (inbox / "torn.wav").write_bytes(b"RIFF and no more")
    write_clip(inbox / "short.wav", 1, duration_s=0.001)
    answer = asd("predict", f"audio={inbox}", "out=result")
    assert answer.code == 1
    skipped = pd.read_csv("result/skipped.csv")
    assert sorted(skipped["path"]) == [str(inbox / "short.wav"), str(inbox / "torn.wav")]
    assert all(path in why for path, why in skipped.to_numpy())
    assert len(pd.read_csv("result/predictions.csv")) == len([*inbox.rglob("Take*.wav")])
    assert "torn.wav" in answer.out
    (inbox / "torn.wav").unlink()
    (inbox / "short.wav").unlink()
    succeeds("predict", f"audio={inbox}", "out=result")
    assert not Path("result/skipped.csv").exists()
    refuses("predict", f"audio={Path('nowhere')}", saying="nowhere")
    Path("file").write_text("mine")
    refuses("predict", f"audio={inbox}", "out=file", saying="cannot write file/predictions.csv: Not a directory")
    (Path("bad") / "x").mkdir(parents=True)
    Path("bad/x/a.wav").write_bytes(b"no sound")
    refuses("predict", "audio=bad", saying="none of 1 recordings can be used, as .*a.wav")
    assert not Path("predictions/statistics/bad/predictions.csv").exists()


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("a\rb.wav", "a,b;c.wav", " a.wav", "%s'.wav")),
        'a\n"b.wav',
    ],
)
def test_what_is_written_can_be_read_whatever_recordings_are_called(inbox: Path, name: str) -> None:
    shutil.rmtree(inbox)
    write_clip(inbox / "plain.wav", 1)
    write_clip(inbox / name, 2)
    answer = asd("predict", f"audio={inbox}", "out=result")
    table = pd.read_csv("result/predictions.csv")
    assert {*table["path"]} == {str(inbox / "plain.wav")} | ({str(inbox / name)} if "\r" not in name else set())
    assert answer.code == int("\r" in name)
    succeeds("report", "predictions=result/predictions.csv")


def test_an_anomaly_is_a_failure_on_demand(inbox: Path) -> None:
    assert asd("predict", f"audio={inbox}", "--fail-on-anomaly").code == 3
    table = pd.read_csv(RESULT)
    fine = table["path"][table["decision"] == 0].iloc[-1]
    answer = succeeds("predict", f"audio={fine}", "--fail-on-anomaly")
    assert answer.out.startswith("fan: 1 recording, 0 above")
    (inbox / "torn.wav").write_bytes(b"RIFF and no more")
    assert asd("predict", f"audio={inbox}", "--fail-on-anomaly").code == 3  # more than a recording that is skipped


def test_it_goes_on_where_it_was_interrupted(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeds("predict", f"audio={inbox}", "out=whole")
    monkeypatch.setattr(predicting, "PIECE", 2)
    scored: list[str] = []
    score_clips = Model.score_clips

    def counted(self: Model, clips: Sequence[Clip], *more: Any) -> pd.DataFrame:
        assert len(clips) <= 2
        if len(scored) == 4:
            raise KeyboardInterrupt
        scored.extend(str(clip.path) for clip in clips)
        return score_clips(self, clips, *more)

    monkeypatch.setattr(Model, "score_clips", counted)
    assert asd("predict", f"audio={inbox}").code == 130
    assert not RESULT.exists()
    partial = RESULT.parent / ".predictions.partial.jsonl"
    partial.write_text(partial.read_text() + '{"model": "torn off in the mid')
    changed = Path(scored[0])
    changed.write_bytes(changed.read_bytes())  # as it was, but written later
    first = scored.copy()
    scored.append("")
    succeeds("predict", f"audio={inbox}")
    assert sorted(scored[5:]) == sorted({*map(str, inbox.rglob("*.wav"))} - {*first[1:]})
    assert_same(pd.read_csv(RESULT), pd.read_csv("whole/predictions.csv"))
    assert [*RESULT.parent.iterdir()] == [RESULT]


def test_a_lost_process_costs_its_piece(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeds("predict", f"audio={inbox}", "out=whole")
    monkeypatch.setattr(predicting, "PIECE", 2)
    done: list[str] = []

    def once_lost(work: Any, pieces: Sequence[predicting.Piece], *_: Any, **__: Any) -> Iterator[Finished]:
        for i, piece in reversed([*enumerate(pieces)]):
            if i in (3, 1) and not done:
                yield Finished(i, None, LostError("its process was killed by signal 9; start it again"))
            else:
                yield Finished(i, *attempt(work, piece))

    monkeypatch.setattr(predicting, "finished", once_lost)
    said = refuses("predict", f"audio={inbox}", saying=r"4 recordings .*Take 02.* its process was killed by signal 9")
    assert "all others are kept" in said
    assert not RESULT.exists()
    done.append("once")
    assert "8 of 12 recordings are scored already" in succeeds("predict", f"audio={inbox}").err
    assert_same(pd.read_csv(RESULT), pd.read_csv("whole/predictions.csv"))


def test_another_model_takes_nothing_over(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interrupted command found with the model of yesterday is not what that of today says."""
    monkeypatch.setattr(predicting.Journal, "remove", lambda self: None)
    succeeds("predict", f"audio={inbox}", "out=result")
    succeeds("train", "machine=fan", "data=data", ONE_VIEW, "backend=knn", "overwrite=true")
    succeeds("predict", f"audio={inbox}", "out=result")
    own = pd.read_csv(RUN / "scores/ensemble.csv")
    assert sorted(pd.read_csv("result/predictions.csv")["score"]) == sorted(own["score"])


def test_what_was_asked_decides_and_no_note_of_another_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predicting.Journal, "remove", lambda self: None)  # as after an interruption
    two_sections(Path("data"))
    succeeds("train", "data=data", ONE_VIEW, "seeds=0,1")

    def limit(seed: int, more: float) -> None:
        path = RUN.with_name(f"seed{seed}") / "scores/thresholds.json"
        known = read_json(path)
        write_json(
            path, {name: {**one, "value": 10.0 * seed + i + more} for i, (name, one) in enumerate(known.items())}
        )

    def found(*words: str) -> tuple[set[float], set[str]]:
        succeeds("predict", "audio=data/fan/train", "out=result", *words)
        table = pd.read_csv("result/predictions.csv", dtype={"section": str})
        return {*table["threshold"]}, {*table["section"]}

    limit(0, 1.0), limit(1, 1.0)
    assert found() == ({1.0}, {"00", "03"})
    assert found("seed=1") == ({11.0}, {"00", "03"})
    assert found("scorer=level_64") == ({2.0}, {"00", "03"})
    assert found("section=3") == ({1.0}, {"03"})
    limit(0, 5.0)
    assert found() == ({5.0}, {"00", "03"})


@pytest.mark.parametrize(
    ("path", "machines", "machine"),
    [
        ("a.wav", ["pump"], "pump"),
        ("fan/a.wav", ["fan", "pump"], "fan"),
        ("fan/pump/a.wav", ["fan", "pump"], "pump"),  # the innermost
        ("Lu\u0308fter/a.wav", ["L\u00fcfter", "pump"], "L\u00fcfter"),  # a disk may write accents apart
        ("6_dB/2026/fan/a.wav", ["-6_dB_fan", "6_dB_fan"], "6_dB_fan"),
    ],
)
def test_the_folder_of_a_recording_tells_its_machine(path: str, machines: list[str], machine: str) -> None:
    assert predicting._machine(Clip(Path("/plant", path), "", "00", Split.TEST), machines) == machine


def test_two_commands_never_write_to_one_folder(inbox: Path) -> None:
    with alone(RESULT.parent):
        refuses("predict", f"audio={inbox}", saying=f"another command writes to {RESULT.parent}; wait .* or say out=")


def test_earlier_predictions_stay_where_new_ones_cannot_be_written(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    succeeds("predict", "audio=inbox")
    before = RESULT.read_bytes()
    write_clip(inbox / "another.wav", 77)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        refuses("predict", "audio=inbox", saying=f"cannot write {RESULT}: No space left on device; free some space")
    assert RESULT.read_bytes() == before
    assert not [*RESULT.parent.glob("predictions_*.csv")]
    assert "scored already" in succeeds("predict", "audio=inbox").err
    (earlier,) = RESULT.parent.glob("predictions_*.csv")
    assert earlier.read_bytes() == before


def test_a_link_in_place_of_predictions_stays_one_and_earlier_ones_are_kept(inbox: Path) -> None:
    succeeds("predict", "audio=inbox")
    kept = Path("elsewhere/table.csv")
    kept.parent.mkdir()
    RESULT.rename(kept)
    RESULT.symlink_to(kept.absolute())
    kept.write_bytes(kept.read_bytes() + b"\xe4")  # as a spreadsheet on Windows writes it
    before = kept.read_bytes()
    write_clip(inbox / "another.wav", 77)
    succeeds("predict", "audio=inbox")
    assert RESULT.is_symlink()
    assert len(RESULT.read_text().splitlines()) == len(before.splitlines())
    assert [path.read_bytes() for path in kept.parent.glob("predictions_*.csv")] == [before]


def test_earlier_predictions_are_kept(inbox: Path) -> None:
    succeeds("predict", f"audio={inbox}")
    before = RESULT.read_bytes()
    succeeds("predict", f"audio={inbox}")
    assert [*RESULT.parent.iterdir()] == [RESULT]
    monday = datetime(2026, 3, 2, 14, 30, 5)
    os.utime(RESULT, (monday.timestamp(), monday.timestamp()))
    write_clip(inbox / "tuesday.wav", 77)
    succeeds("predict", f"audio={inbox}")
    (earlier,) = RESULT.parent.glob("predictions_*.csv")
    assert earlier.name == f"predictions_{monday:%Y-%m-%d_%H%M%S}.csv"  # when it was written
    assert earlier.read_bytes() == before
    assert len(pd.read_csv(RESULT)) == len(before.splitlines())
    moment_s = earlier.stat().st_mtime
    for i in range(3):  # all within one second, as where clocks are set back at the end of summer time
        os.utime(RESULT, (moment_s, moment_s))
        write_clip(inbox / f"wednesday_{i}.wav", i)
        succeeds("predict", f"audio={inbox}")
    kept = sorted(len(pd.read_csv(path)) for path in RESULT.parent.glob("predictions*.csv"))
    assert kept == [*range(kept[0], kept[0] + 5)]


def test_no_other_model_stands_for_one_that_is_not_complete(inbox: Path) -> None:
    tone_machine(Path("data"), "pump", n_train=12, n_test=1)
    succeeds("train", "machine=pump", "data=data", ONE_VIEW)
    Path("runs/statistics/pump/seed0/DONE").unlink()  # as while it is trained anew, or after that was broken off
    refuses("predict", "audio=data/pump/test", saying="is of pump, whose training is not complete: start the same")
    refuses("predict", "audio=inbox", saying=r"has several machines \(fan, pump\)")
    succeeds("predict", "audio=inbox", "machine=fan")
    with pytest.raises(AsdError, match=r"has several machines \(fan, pump\); name one"):
        library.load("runs/statistics")
    assert library.load("runs/statistics", "fan").options.machine == ["fan"]
    answer = succeeds("report", "clips=0")
    assert "runs/statistics is not whole, and the page lacks a part: pump seed 0 was begun" in answer.err


def test_folders_say_whose_recordings_they_are(inbox: Path) -> None:
    tone_machine(Path("data"), "pump", n_train=14, n_test=1)
    succeeds("train", "machine=all", "data=data", "name=both", ONE_VIEW)
    answer = refuses("predict", "name=both", f"audio={inbox}", saying="several machines .fan, pump.*machine=")
    assert "Take" in answer
    for machine in ("fan", "pump"):
        shutil.copytree(f"data/{machine}/test", inbox / machine)
    succeeds("predict", "name=both", f"audio={inbox / 'fan'}", "machine=pump", "out=wrong")
    succeeds("predict", "name=both", f"audio={inbox / 'fan'}", "out=fans")
    assert {*pd.read_csv("wrong/predictions.csv")["machine"]} == {"pump"}
    assert {*pd.read_csv("fans/predictions.csv")["machine"]} == {"fan"}
    shutil.rmtree(inbox / "monday shift")
    succeeds("predict", "name=both", f"audio={inbox}", "out=all")
    table = pd.read_csv("all/predictions.csv")
    for machine, rows in table.groupby("machine"):
        own = pd.read_csv(f"runs/both/{machine}/seed0/scores/ensemble.csv")
        assert sorted(rows["score"]) == sorted(own["score"])
        assert rows["rank"].tolist() == [*range(1, len(own) + 1)]


def test_the_tree_that_was_learnt_from_says_whose_recordings_they_are_and_of_which_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place, folder in enumerate(("-6_dB_fan/fan/id_00", "-6_dB_fan/fan/id_02", "6_dB_fan/fan/id_00")):
        for i in range(8):
            write_clip(Path(f"mimii/{folder}/normal/{place}{i:07d}.wav"), 100 * place + i)
        write_clip(Path(f"mimii/{folder}/abnormal/{place}9000000.wav"), 100 * place + 90, tone_hz=3000.0)
    succeeds("train", "data=mimii", "name=snr", ONE_VIEW)
    succeeds("predict", "name=snr", "audio=mimii")
    found = pd.read_csv("predictions/snr/mimii/predictions.csv", dtype=str)
    found = found.set_index(found["path"].map(lambda path: Path(path).name))
    for machine in ("-6_dB_fan_fan", "6_dB_fan_fan"):
        own = pd.read_csv(f"runs/snr/{machine}/seed0/scores/ensemble.csv", dtype=str)
        rows = found.loc[own["file"]]
        assert {*rows["machine"]} == {machine}
        assert rows["section"].tolist() == own["section"].tolist()
        np.testing.assert_allclose(rows["score"].astype(float), own["score"].astype(float), rtol=1e-6)


@pytest.mark.slow
def test_workers_say_the_same(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "PIECE", 3)
    succeeds("predict", f"audio={inbox}")
    succeeds("predict", f"audio={inbox}", "out=local", "executor=local", "workers=2")
    assert_same(pd.read_csv("local/predictions.csv"), pd.read_csv(RESULT))


def test_patterns_and_tables_name_recordings(inbox: Path) -> None:
    answer = succeeds("predict", f"audio={inbox}/*/*odd.wav")
    table = pd.read_csv(RESULT)
    assert {*table["path"]} == {str(path) for path in inbox.rglob("*odd.wav")}
    assert str(RESULT) in answer.out
    listed = pd.DataFrame({"path": [Path(path).relative_to(inbox) for path in table["path"]], "machine": "fan"})
    listed.to_csv(inbox / "list.csv", index=False)
    succeeds("predict", f"audio={inbox / 'list.csv'}", "out=listed")
    again = pd.read_csv("listed/predictions.csv")
    assert_same(again, table)
    listed.loc[0, "path"] = "gone.wav"
    listed.to_csv(inbox / "list.csv", index=False)
    answer = asd("predict", f"audio={inbox / 'list.csv'}", "out=listed")  # as any other that cannot be read
    assert (answer.code, len(pd.read_csv("listed/predictions.csv"))) == (1, len(table) - 1)
    assert "gone.wav does not exist" in Path("listed/skipped.csv").read_text()
    listed.assign(path="gone.wav").head(1).to_csv(inbox / "list.csv", index=False)
    refuses("predict", f"audio={inbox / 'list.csv'}", saying="row 2 names gone.wav, .* paths are relative to the table")
    listed.assign(machine="lathe").to_csv(inbox / "list.csv", index=False)
    refuses("predict", f"audio={inbox / 'list.csv'}", saying="is of lathe, and it is asked of fan")


@pytest.mark.slow
def test_the_examples_for_spark_and_ray_data_say_the_same(inbox: Path) -> None:
    """Spark's mapInPandas gives a function an iterator of tables and takes one back."""
    paths = pd.DataFrame({"path": [str(path) for path in sorted(inbox.rglob("*.wav"))]})
    spark = run_path(str(ROOT / "docs/examples/score_on_spark.py"))
    found = pd.concat(spark["score_partition"](iter([paths[:5], paths[5:5], paths[5:]])), ignore_index=True)
    succeeds("predict", f"audio={inbox}")
    wanted = pd.read_csv(RESULT).sort_values("path", ignore_index=True)
    columns = ["path", "score", "threshold", "decision"]
    pd.testing.assert_frame_equal(found[columns], wanted[columns], rtol=1e-6, check_dtype=False)
    assert [part.split()[0] for part in spark["SCHEMA"].split(", ")] == columns
    scorer = run_path(str(ROOT / "docs/examples/score_on_ray_data.py"))["Scorer"]("runs/statistics", "fan")
    pd.testing.assert_frame_equal(scorer(paths)[columns], found[columns], rtol=1e-6)


def test_a_recording_that_the_detector_refuses_costs_no_other(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeds("predict", "audio=inbox", "out=whole")
    score = Statistics.score

    def picky(self: Statistics, recordings: Recordings) -> Scores:
        for clip in recordings.clips:
            if clip.path.name.startswith("Take 03"):
                raise AsdError(f"features of {clip.path} are not finite; remove it")
        return score(self, recordings)

    monkeypatch.setattr(Statistics, "score", picky)
    answer = asd("predict", "audio=inbox", "out=left")
    assert answer.code == 1
    (skipped,) = pd.read_csv("left/skipped.csv").itertuples()
    assert Path(skipped.path).name.startswith("Take 03")
    assert "are not finite" in skipped.why
    whole, left = (pd.read_csv(f"{place}/predictions.csv").set_index("path")["score"] for place in ("whole", "left"))
    assert {*whole.index} - {*left.index} == {skipped.path}
    np.testing.assert_allclose(left, whole[left.index], rtol=1e-6)


def test_a_finding_is_of_the_file_as_it_was_before_it_was_read(tmp_path: Path) -> None:
    """What is replaced while it is scored is scored again, and what could not be used is tried again."""
    clips = [Clip(write_clip(tmp_path / f"{name}.wav", i), "fan", "00", Split.TEST) for i, name in enumerate("abc")]
    journal = predicting.Journal(tmp_path / "journal")
    assert journal.begin("model", clips) == clips
    facts = clips[0].path.stat()
    write_clip(clips[0].path, 7, duration_s=0.5)
    os.utime(clips[0].path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # of another size, as old as before
    rows = pd.DataFrame([{"path": str(clip.path), "score": 1.0} for clip in clips[:2]])
    journal.add("model", rows, [(clips[2], AsdError("it may not be read"))])
    assert predicting.Journal(tmp_path / "journal").begin("model", clips) == [clips[0], clips[2]]


@pytest.mark.parametrize(
    ("defects", "said"),
    [
        (["", None, ""], None),
        (["", "is silent", ""], "b.wav is silent: it has a score, but not a meaningful one"),
        (
            ["is silent", "", "is constant"],
            "a.wav is silent: it has a score, but not a meaningful one (as have 1 more of 3: see the column defect)",
        ),
    ],
)
def test_recordings_without_a_usable_sound_are_named(
    defects: list[str | None], said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_defects(pd.DataFrame({"path": ["a.wav", "b.wav", "c.wav"], "defect": defects}))
    assert caplog.messages == ([said] if said else [])
