"""The loss study's table and verdicts, from made-up results; and one real cell of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asd.studies.config import Losses
from asd.studies.losses import LOSSES, VARIANTS, figure, sections, summarise, trainings, verdicts, write_report
from asd.studies.sed_cell import settings
from asd.types import AsdError
from tests.command import refuses, succeeds
from tests.sounds import write_events


def result(f1: float, macro: float) -> dict[str, object]:
    half = {"f1": f1, "macro_f1": macro, "roc_auc": 0.9, "macro_roc_auc": 0.8}
    return {"student": {"frames_half": half, "frames": {"macro_f1": macro}}}


def results() -> dict[str, list[dict[str, object]]]:
    table = {"bce": (0.40, 0.10), "afl": (0.50, 0.10), "srl": (0.35, 0.08)}
    found = {
        f"crnn/{loss}": [result(f1 + off, macro + off) for off in (0.0, 0.01, 0.02)]
        for loss, (f1, macro) in table.items()
    }
    found["crnn/afl"][1] = result(0.51, 0.02)  # the seeds disagree about macro F1
    return found


def test_gains_are_paired_by_seed() -> None:
    afl = summarise(results())["crnn"]["afl"]
    assert afl["f1"]["mean"] == pytest.approx(51.0)
    assert afl["f1"]["std"] == pytest.approx(1.0)
    assert afl["f1"]["gain"] == pytest.approx(10.0)
    assert afl["f1"]["gain_std"] == pytest.approx(0.0, abs=1e-9)
    assert afl["f1"]["seeds_up"] == 3


def test_verdicts_say_where_the_order_differs() -> None:
    said = verdicts(summarise(results()))
    assert "crnn, afl, micro F1: +8.2 points there, +10.0 ± 0.0 here: the same direction." in said
    assert "crnn, srl, micro F1: +6.3 points there, -5.0 ± 0.0 here: the other direction." in said
    assert any(s.startswith("crnn, srl, macro F1: +3.0 points there, -2.0") for s in said)
    assert not any("ifl" in s for s in said)


def test_a_table_is_sorted_by_macro_f1_and_a_figure_shows_both_measures(tmp_path: Path) -> None:
    summary = summarise(results())
    assert [row[0] for row in sections(summary)[0].rows] == ["bce", "srl", "afl"]
    assert [axes.get_label() for axes in figure(summary).axes] == ["f1", "macro_f1"]
    write_report(tmp_path, summary)
    assert json.loads((tmp_path / "losses.json").read_text()) == summary
    assert (tmp_path / "losses.png").read_bytes()[:4] == b"\x89PNG"
    assert "![losses](losses.png)" in (tmp_path / "losses.md").read_text()


def test_a_loss_that_never_predicts_is_no_empty_bar() -> None:
    table = {f"crnn/{loss}": [result(f1, f1)] * 2 for loss, f1 in (("bce", 0.4), ("ifl", 0.0))}
    for axes in figure(summarise(table)).axes:
        assert [text.get_text() for text in axes.texts] == [" 0: no frame above 0.5"]


def test_the_study_holds_every_loss_and_network() -> None:
    config = Losses()
    found = trainings(config)
    assert len(found) == 2 * len(LOSSES) + len(VARIANTS)
    afl = settings(config, {"out": "data"}, found["transformer/afl"])
    assert afl["network"]["kind"] == "transformer"
    assert afl["loss"]["gamma"] == 0.0625
    assert afl["loss"]["weak"] == 0
    assert afl["training"]["epochs"] == config.epochs
    assert afl["teacher"]["method"] == "none"
    with pytest.raises(AsdError, match="losses=huber is unknown; there are bce, srl"):
        trainings(Losses(losses=["huber"]))
    with pytest.raises(AsdError, match="networks=rnn is unknown; there are crnn, transformer"):
        trainings(Losses(networks=["rnn"]))


@pytest.mark.slow
def test_studies_run_and_do_nothing_again(tmp_path: Path) -> None:
    events = write_events(tmp_path / "events")
    words = (f"events={events}", f"runs={tmp_path}", "workers=1", "device=cpu", "epochs=1", "seeds=0,1", "strong=16",
             "validation=16", "test=8")  # fmt: skip
    losses = ("study", "losses", *words, "losses=bce,dice", "networks=crnn")
    assert "| dice" in succeeds(*losses).out
    assert "4 of 4 cells are done already" in succeeds(*losses).err
    first, second, *_ = sorted(events.rglob("*.wav"))
    first.write_bytes(second.read_bytes())
    assert "done already" not in succeeds(*losses).err
    answer = succeeds("study", "cmt", *words, "classes=", "weak=4", "unlabelled=8")
    assert "cmt_neg_balanced" in answer.out
    for name in ("overview.md", "masses.png", "report/report.md", "cmt_neg/seed1/metrics.jsonl"):
        assert (tmp_path / "cmt" / name).exists()
    refuses("study", "losses", *words, "background=", saying="background= is missing")
