from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.data.codecs import encode
from asd.evaluation.comparison import measured
from asd.evaluation.confidence import bootstrap_official_score
from asd.evaluation.report.contents import Medium, PageMedia, of_interest, projections, recorded_at, roc_curves
from asd.evaluation.rule import rule_year
from asd.metrics import auc, evaluate_table, pauc
from asd.types import SCORE_COLUMNS
from tests.command import refuses, succeeds, tiny_machines


def score_rows(
    seed: int = 0, machines: str = "fan valve", domains: tuple[str, ...] = ("source", "target")
) -> pd.DataFrame:
    """A labelled score table of 6 clips of each kind, anomalies a little higher."""
    rng = np.random.default_rng(seed)
    rows = [
        (machine, "00", domain, "test", label, f"{domain}_{label}_{i}.wav", rng.normal() + (label == "anomaly"), 0)
        for machine in machines.split()
        for domain in domains
        for label in ("normal", "anomaly")
        for i in range(6)
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def page_of(path: Path) -> tuple[str, dict[str, Any]]:
    """The page and the data in it."""
    text = path.read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return text, json.loads(found[1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `one` and `two` of two machines, trained with the seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("trained")
    with contextlib.chdir(folder):
        tiny_machines(Path("data"), "fan", "valve")
        for name in ("one", "two"):
            succeeds("train", "data=data", f"name={name}", "seeds=0,1", "statistics.views=level_64,flux_16")
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own with these runs."""
    shutil.copytree(trained, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("pump 2024-01-31 14-05-59.flac", datetime(2024, 1, 31, 14, 5, 59)),
        ("REC_20240131T1405.wav", datetime(2024, 1, 31, 14, 5)),
        ("20240131_140559_left.wav", datetime(2024, 1, 31, 14, 5, 59)),
        ("a/b_2024_01_31.wav", datetime(2024, 1, 31)),
        ("Prüfling 31.01.2024 14.05.wav", datetime(2024, 1, 31, 14, 5)),
        ("1.2.2024.wav", datetime(2024, 2, 1)),
        ("WhatsApp Audio 2024-01-31 at 14.05.59.ogg", datetime(2024, 1, 31, 14, 5, 59)),
        ("2024/01/31/OK/7.wav", datetime(2024, 1, 31)),
        ("pump/2024-01-31/14-05-59.wav", datetime(2024, 1, 31, 14, 5, 59)),
        ("pump/2024-01-31/0012.wav", datetime(2024, 1, 31)),  # the twelfth
        ("since 2023-01-01/pump 20240131.wav", datetime(2024, 1, 31)),
        ("REC_20240131_9999.wav", datetime(2024, 1, 31)),
        ("section_00_source_test_normal_0020_speed_1400.wav", None),
        ("normal_id_00_20249931.wav", None),
        ("120240131.wav", None),
        ("2024-01_31.wav", None),
    ],
)
def test_a_date_is_read_from_a_name(name: str, moment: datetime | None) -> None:
    assert recorded_at(name) == moment


def test_the_first_digits_that_are_a_date_count() -> None:
    assert recorded_at("20241399 then 20240229.wav") == datetime(2024, 2, 29)


def test_numbers_are_those_of_the_evaluation_and_its_bootstrap() -> None:
    tables = {0: score_rows(0), 3: score_rows(3)}
    found = measured(tables, 2025)
    evaluations = [evaluate_table(table, 2025) for table in tables.values()]
    scores = [evaluation["official_score"] for evaluation in evaluations]
    assert found["score"]["value"] == pytest.approx(np.mean(scores))
    assert found["std"] == pytest.approx(np.std(scores, ddof=1))
    metric = found["machines"]["valve"]["sections"]["00"]["auc_target"]
    assert metric["value"] == pytest.approx(np.mean([e["machines"]["valve"]["00"]["auc_target"] for e in evaluations]))
    assert metric["low"] < metric["value"] < metric["high"]
    one = measured({0: tables[0]}, 2025)["score"]
    assert (one["low"], one["high"]) == pytest.approx(bootstrap_official_score(tables[0], 2025))


def test_a_machines_score_is_that_of_the_machine_alone() -> None:
    table = score_rows(1)
    alone = evaluate_table(table[table["machine"] == "fan"], 2025)["official_score"]
    assert measured({0: table}, 2025)["machines"]["fan"]["score"]["value"] == pytest.approx(alone)


def test_the_rule_is_the_years_or_the_plain_one_or_none() -> None:
    table = score_rows()
    assert rule_year(table, 2025) == 2025
    assert rule_year(score_rows(domains=("source",)), 2025) == 2020
    assert rule_year(score_rows(domains=("",)), 2024) == 2020
    assert rule_year(table[table["label"] == "normal"], 2025) is None
    assert rule_year(table.assign(label=""), 2025) is None
    is_of_target, is_anomaly = table["domain"] == "target", table["label"] == "anomaly"
    assert rule_year(table[~(is_of_target & is_anomaly)], 2025) == 2025  # which compares with those of both domains
    assert rule_year(table[~(is_of_target & is_anomaly)], 2021) == 2020
    assert rule_year(table[~(is_of_target & ~is_anomaly)], 2025) == 2020


def test_the_area_under_a_curve_is_the_auc() -> None:
    table = score_rows(2, "fan")
    curves = roc_curves(table)
    is_anomaly, scores = (table["label"] == "anomaly").to_numpy(), table["score"].to_numpy()
    area = np.trapezoid(curves["all clips"]["tpr"], curves["all clips"]["fpr"])
    assert area == pytest.approx(auc(is_anomaly, scores), abs=1e-3)
    chosen = (table["domain"] == "source").to_numpy() | is_anomaly
    area = np.trapezoid(curves["source"]["tpr"], curves["source"]["fpr"])
    assert area == pytest.approx(pauc(is_anomaly[chosen], scores[chosen], 1.0), abs=1e-3)
    assert roc_curves(table[table["label"] == "normal"]) == {}


@settings(max_examples=50)
@given(
    scores=st.lists(st.floats(-9, 9), min_size=1, max_size=20),
    most=st.integers(1, 20),
    labels=st.randoms(use_true_random=False),
)
def test_clips_of_interest_are_each_there_once_with_the_highest_first(
    scores: list[float], most: int, labels: Any
) -> None:
    kinds = [labels.choice(["normal", "anomaly", ""]) for _ in scores]
    rows = of_interest(pd.DataFrame({"score": scores, "label": kinds}), most)
    assert len(rows) == len({*rows}) == min(most, len(scores))
    assert scores[rows[0]] == max(scores)


def test_errors_of_both_kinds_are_of_interest() -> None:
    table = pd.DataFrame({"score": [9.0, 8.0, 7.0, 1.0, 0.0], "label": ["anomaly"] * 2 + ["normal"] * 2 + ["anomaly"]})
    assert of_interest(table, 3) == [0, 2, 4]  # the highest, the highest normal, the lowest anomaly


def test_a_shelf_holds_no_more_than_it_may() -> None:
    page = PageMedia(most_characters=100)
    assert page.add({"a": Medium(bytes(60), "x/y")})  # 80 characters
    assert not page.add({"b": Medium(bytes(30), "x/y")})
    assert page.add({"a": Medium(bytes(60), "x/y"), "c": Medium(bytes(15), "x/y")})  # a is there already
    assert {*page.media} == {"a", "c"}
    assert len(page.media["a"].base64) == page.media["a"].n_characters


def test_maps_keep_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    far_apart = np.concatenate([rng.normal(size=(20, 6)), rng.normal(size=(20, 6)) + 30])
    maps = projections(far_apart)
    assert {*maps} == {"PCA", "t-SNE"}
    centred = far_apart - far_apart.mean(axis=0)
    first = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    assert abs(np.corrcoef(first, maps["PCA"][:, 0])[0, 1]) == pytest.approx(1)
    for points in maps.values():
        gap = np.linalg.norm(points[:20].mean(0) - points[20:].mean(0))
        assert gap > 2 * points[:20].std(0).max()
    np.testing.assert_array_equal(projections(far_apart)["t-SNE"], maps["t-SNE"])
    assert projections(far_apart[:4]) == {}
    assert projections(np.ones((9, 3))) == {}


@pytest.mark.parametrize(
    ("codec", "rate", "head"), [("flac", 16000, b"fLaC"), ("opus", 16000, b"OggS"), ("opus", 22050, b"fLaC")]
)
def test_sounds_are_encoded(codec: Any, rate: int, head: bytes) -> None:
    wave = np.round(8000 * np.sin(np.arange(rate) / 20)).astype(np.float32)[None] / 32768
    content = encode(wave, rate, codec)
    assert content.startswith(head)
    decoded, found_rate = soundfile.read(io.BytesIO(content), dtype="float32")
    assert (len(decoded), found_rate) == (rate, rate)
    if head == b"fLaC":
        np.testing.assert_array_equal(decoded, wave[0])
    else:
        assert np.corrcoef(decoded, wave[0])[0, 1] > 0.99
        assert len(content) < 1.5 * 60_000 / 8  # bytes of one second


def test_a_report_holds_everything_it_names(run: Path) -> None:
    succeeds("evaluate", "name=one")
    answer = succeeds("report", "name=one", "members=two", "clips=5", "explained=1")
    text, data = page_of(Path("runs/one/report.html"))
    assert "report.html" in answer.out
    assert not re.search(r"""(?:src|href)=["']?https?:""", text.split('<script type="application/json"')[0])
    official = json.loads(Path("runs/one/evaluation.json").read_text())["scorers"]["ensemble"]["official_score"]
    assert f'<p class="big">{100 * official:.1f}' in text
    assert [part["machine"] for part in data["machines"]] == ["fan", "valve"]
    assert {comparison["title"] for comparison in data["comparisons"]} == {"runs", "seeds"}
    for part in data["machines"]:
        table = pd.read_csv(f"runs/one/{part['machine']}/seed0/scores/ensemble.csv")
        ranked = sorted(part["clips"], key=lambda clip: clip["rank"])
        assert [c["file"] for c in ranked] == list(table.sort_values("score", ascending=False)["file"])
        training = pd.read_csv(f"runs/one/{part['machine']}/seed0/model/training_scores.csv")["ensemble"]
        best = table.loc[table["score"].idxmax()]
        assert ranked[0]["share"] == pytest.approx((training > best["score"]).mean(), abs=1e-4)
        heard = [clip for clip in part["clips"] if "sounds" in clip]
        assert len(heard) == 5
        assert sum("explained" in clip for clip in heard) == 1
        for clip in heard:
            for medium in [*clip["sounds"], *clip["pictures"]]:
                assert f'id="media-{medium}"' in text
        assert len(part["maps"]["PCA"]) == len(part["map_rows"]) + len(part["map_training"])


def test_a_report_stays_within_its_size_and_says_so(run: Path) -> None:
    succeeds("report", "name=one", "clips=9", "explained=0", "megabytes=0.1", "out=small page.html")
    text, data = page_of(Path("small page.html"))
    media = re.findall(r'id="media-[^>]*>([^<]*)</script>', text)
    assert 0 < sum(map(len, media)) <= 1e5
    assert all("allows no more" in part["notes"][0] for part in data["machines"])


@pytest.mark.slow
def test_a_report_of_predictions_needs_no_labels(run: Path) -> None:
    paths = sorted(Path("data/fan/test").glob("*.wav"))[:4]
    copies = [path.rename(f"pump 2024-01-{i + 1:02d} <b>.wav") for i, path in enumerate(paths)]
    train = sorted(Path("data/fan/train").glob("*.wav"))[0].name
    rows = [(str(path), "fan", 3.0 - i, 1.5, 0, i + 1, train) for i, path in enumerate(copies)]
    columns = ["path", "machine", "score", "threshold", "decision", "rank", "nearest"]
    pd.DataFrame(rows, columns=columns).to_csv("predictions.csv", index=False)
    succeeds("report", "name=one", "predictions=predictions.csv", "clips=2", "explained=1", "out=p.html")
    text, data = page_of(Path("p.html"))
    (part,) = data["machines"]
    assert "no labels of both kinds" in text
    assert "<b>" not in text.split("<script", 1)[1].split("</script>")[0]
    assert part["threshold"] == 1.5
    assert [clip["file"] for clip in part["clips"]] == [str(path) for path in copies]
    assert part["clips"][1]["at"] == "2024-01-02T00:00:00"
    assert part["clips"][0]["nearest"] == train
    pages = {path: path.read_bytes() for path in Path("runs/one").glob("report.*")}
    succeeds("report", "name=one", "predictions=predictions.csv", "clips=0")  # beside them: that of the run stays
    assert Path("report.html").is_file()
    assert {path: path.read_bytes() for path in Path("runs/one").glob("report.*")} == pages


def test_a_fused_run_has_a_report_without_sounds(run: Path) -> None:
    succeeds("fuse", "members=one,two", "name=both")
    succeeds("report", "name=both")
    _, data = page_of(Path("runs/both/report.html"))
    assert "fused" in data["machines"][0]["notes"][0]


def test_recordings_of_predictions_that_are_gone_are_counted_and_no_pattern_stands_for_them(run: Path) -> None:
    path = next(Path("data/fan/test").glob("*.wav")).rename("new1.wav")  # what new[1].wav means as a pattern
    table = pd.DataFrame({"path": [str(path), "new[1].wav"], "machine": "fan", "score": 2.0})
    table.to_csv("predictions.csv", index=False)
    saying = r"1 of 2 recordings of the table of predictions are not there \(new\[1\].wav\)"
    refuses("report", "name=one", "predictions=predictions.csv", saying=saying)
    succeeds("report", "name=one", "predictions=predictions.csv", "clips=0")


def test_what_cannot_be_reported_is_refused(run: Path) -> None:
    refuses("report", "name=three", saying="three does not exist")
    refuses("report", "name=one", "scorer=best", saying="scorer=best")
    refuses("report", "name=one", "seed=7", saying="seed=7")
    refuses("report", "name=one", "out=runs", saying="cannot write runs: Is a directory; choose another place")
    refuses("report", "name=one", "members=four", saying="four does not exist")
    for scores in Path("runs/two/fan/seed0/scores").glob("*.csv"):
        scores.write_text(scores.read_text().replace("_0000", "_0100"))
    refuses("report", "name=one", "members=two", "clips=0", saying="one and members=two scored different clips; name")
    refuses("report", "name=two", "clips=0", saying="the seeds of two scored different clips; `score` with all")
    refuses("report", "name=one", "predictions=none.csv", saying=r"predictions=none.csv is no readable")
    Path("bad.csv").write_text("path,machine\na.wav,fan\n")
    refuses("report", "name=one", "predictions=bad.csv", saying="has no column score")
    Path("bad.csv").write_text("path,machine,score\na.wav,lathe,1\n")
    refuses("report", "name=one", "predictions=bad.csv", saying="lathe")
    Path("bad.csv").write_text("path,machine,score,threshold\na.wav,fan,1,?\n")
    refuses("report", "name=one", "predictions=bad.csv", saying=r"no readable .* to float: '\?'\); predict writes")
    Path("bad.csv").write_text("path,machine,score,threshold\na.wav,fan,1,5,2\n")
    refuses("report", "name=one", "predictions=bad.csv", saying="rows have more cells than its first line names, as by")
    Path("bad.csv").write_text("path;machine;score\na.wav;fan;1\nb.wav;fan;1,5\n")
    refuses("report", "name=one", "predictions=bad.csv", saying=r"fields in line 3, saw 2\); predict writes it$")
    assert not Path("runs/one/report.html").exists()
    assert not Path("report.html").exists()
