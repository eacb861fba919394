"""What is found in a trained multimodal Transformer: its losses, gates, attention and worst cases."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from asd.core.networks.gated_fusion import MultimodalTransformer
from asd.studies.fusion import analysis
from asd.studies.fusion.training import TERMS, Batch, build_losses, build_network, losses_of
from asd.synthetic.tracks import MODALITIES, Sequences, make_sequences
from tests.test_fusion_training import EQUAL, TINY, data, layout_of


@pytest.fixture(scope="module")
def batch() -> Batch:
    return data().at(torch.arange(16))


@pytest.fixture(scope="module")
def seen() -> Sequences:
    return make_sequences(layout_of(TINY), 0, range(16))


@pytest.fixture(scope="module")
def net() -> MultimodalTransformer:
    return build_network(TINY, MODALITIES, "gated", 0)


def test_sequences_are_scored_one_by_one_whatever_their_company(net: MultimodalTransformer, batch: Batch) -> None:
    weights = {**EQUAL, "crop": 2.0}
    rows = analysis.score(build_losses(weights), analysis.answers(net, batch), batch)
    for i in (0, 5):
        one = batch.at(torch.tensor([i]))
        found = losses_of(build_losses(weights), net.eval()(one.features, one.present), one)
        assert rows["total"][i] == pytest.approx(float(found.total.detach()), rel=1e-4)
        assert [rows[name][i] for name in TERMS] == pytest.approx([float(found.terms[n]) for n in TERMS], rel=1e-4)
    total = sum(weights[name] * np.array(rows[name]) for name in TERMS)
    np.testing.assert_allclose(rows["total"], total, rtol=1e-5)
    assert analysis.means(rows)["total"] == pytest.approx(float(np.mean(rows["total"])))


def test_right_decisions_are_counted_over_the_tracks_that_they_are_about(batch: Batch) -> None:
    perfect = analysis.TrackOutput(
        torch.stack([~batch.active, batch.active], -1).float(), batch.asset, batch.numbers, None
    )
    rows = analysis.score(build_losses(EQUAL), perfect, batch)
    assert set(rows["active_right"]) == set(rows["asset_right"]) == {1.0}
    assert not any(rows["scale"] + rows["position"] + rows["crop"])
    wrong = perfect._replace(active=1 - perfect.active, asset=perfect.asset.roll(1, -1))
    rows = analysis.score(build_losses(EQUAL), wrong, batch)
    assert set(rows["active_right"]) == set(rows["asset_right"]) == {0.0}
    nothing_shown = dataclasses.replace(batch, active=torch.zeros_like(batch.active))
    assert set(analysis.score(build_losses(EQUAL), wrong, nothing_shown)["asset_right"]) == {1.0}


def test_long_sets_are_said_in_pieces(net: MultimodalTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = data().at(torch.arange(16))
    whole = analysis.answers(net, batch)
    monkeypatch.setattr(analysis, "_CHUNK", 5)
    pieces = analysis.answers(net, batch)
    for a, b in zip(whole, pieces, strict=True):
        torch.testing.assert_close(a, b)


def test_coverage_counts_steps_sequences_and_unknown_values(seen: Sequences) -> None:
    found = analysis.coverage(seen)
    for i, name in enumerate(MODALITIES):
        here = seen.present[..., i]
        assert found[name]["steps"] == pytest.approx(np.count_nonzero(here) / here.size)
        assert found[name]["sequences"] == pytest.approx(sum(row.all() for row in here) / 16)
    picture = seen.features["video"][seen.present[..., 1]]
    assert found["video"]["nan_values"] == pytest.approx(np.isnan(picture).sum() / picture.size)
    assert found["audio"]["nan_values"] == found["track"]["nan_values"] == 0


def test_shares_add_up_and_a_gate_nailed_open_is_open(batch: Batch) -> None:
    net = build_network(TINY, MODALITIES, "gated", 0)
    for name, bias in (("audio", 20.0), ("video", -20.0), ("track", 0.0)):
        torch.nn.init.zeros_(net.fusion.gate[name].weight)
        torch.nn.init.constant_(net.fusion.gate[name].bias, bias)
    dark = np.zeros((16, 8), dtype=bool)
    dark[:, :3] = True
    found = analysis.gate_contributions(
        net, batch, analysis.answers(net, batch), {"video": dark, "audio": ~dark & dark}
    )
    assert [found[name]["open"] for name in MODALITIES] == pytest.approx([1, 0, 0.5], abs=1e-6)
    assert sum(found[name]["share"] for name in MODALITIES) == pytest.approx(1)
    assert found["video"]["share"] < 1e-6
    assert {"open_trouble", "open_else"} <= found["video"].keys()
    assert not {"open_trouble", "open_else"} & found["audio"].keys()  # there was no trouble: no mean of nothing


def test_the_example_shows_zero_where_a_modality_is_absent(
    net: MultimodalTransformer, batch: Batch, seen: Sequences
) -> None:
    found = analysis.gate_example(analysis.answers(net, batch), seen, list(range(100, 116)))
    i = found["sequence"] - 100
    for k, name in enumerate(MODALITIES):
        assert [gate > 0 for gate in found["gates"][name]] == seen.present[i, :, k].tolist()


def test_attention_without_preference_is_uniform(batch: Batch, seen: Sequences) -> None:
    net = build_network(TINY, MODALITIES, "concatenated", 0).eval()
    for layer in net.encoder.layers:
        torch.nn.init.zeros_(layer.self_attn.in_proj_weight)
    found = analysis.attention_summary(net, batch, seen.scene)
    for layer in found["layers"]:
        assert {k: layer[k] for k in found["uniform"]} == pytest.approx(found["uniform"], rel=1e-4)
        np.testing.assert_allclose(layer["map"], np.full((8, 8), 1 / 8), atol=1e-5)
    same = np.mean([[a == b for a in row for b in row] for row in seen.scene])
    assert found["uniform"]["same_scene"] == pytest.approx(float(same), rel=1e-5)
    assert found["uniform"]["distance"] == pytest.approx(np.mean([abs(a - b) for a in range(8) for b in range(8)]))


def test_attention_adds_up_to_one(net: MultimodalTransformer, batch: Batch, seen: Sequences) -> None:
    found = analysis.attention_summary(net.eval(), batch, seen.scene)
    for layer in found["layers"]:
        np.testing.assert_allclose(np.sum(layer["map"], 1), 1, atol=1e-4)


def test_the_worst_cases_come_worst_first_with_what_was_the_matter(seen: Sequences) -> None:
    rng = np.random.default_rng(0)
    rows = {name: rng.random(16).tolist() for name in TERMS}
    rows["total"] = np.sum([rows[name] for name in TERMS], 0).tolist()
    rows["crop"][3], rows["total"][3] = 50.0, 60.0
    worst = analysis.worst_cases(rows, seen, list(range(40, 56)))
    assert len(worst) == analysis.N_WORST
    assert (worst[0]["sequence"], worst[0]["largest"], worst[0]["total"]) == (43, "crop", 60.0)
    totals = [case["total"] for case in worst]
    assert totals == sorted(rows["total"], reverse=True)[: len(totals)]
    assert worst[0]["cuts"] == int(seen.cut[3].sum())
    assert worst[0]["present"]["track"] == seen.present[3, :, 2].mean()
