"""The fusion study's network learns by the recipe, ignores idle tracks, and refuses what has no modality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asd.core.update import learning_rate_at
from asd.studies.config import Fusion
from asd.studies.fusion.training import (
    Batch,
    answer_frequencies,
    build_losses,
    build_network,
    fit,
    layout_of,
    losses_of,
    measure_scales,
    prepare,
    split_indices,
    train_settings,
    usable,
)
from asd.synthetic.tracks import MODALITIES, make_sequences
from asd.types import AsdError

TINY = Fusion(
    epochs=3, n_train=24, n_valid=8, n_test=16, n_dims=16, n_heads=2, n_layers=1, n_feedforward=16, n_steps=8,
    n_assets=4, n_embedding=3,
)  # fmt: skip
EQUAL = dict.fromkeys(("active", "asset", "scale", "position", "crop"), 1.0)


def data(config: Fusion = TINY, modalities: tuple[str, ...] = MODALITIES) -> Batch:
    n = config.n_train + config.n_valid + config.n_test
    sequences = make_sequences(layout_of(config), 0, range(n))
    scales = measure_scales(sequences, config.n_train)
    return prepare(sequences, scales, modalities, config.n_assets, torch.device("cpu"))


def test_at_full_size_it_is_the_described_network_but_for_three_numbers_without_a_loss() -> None:
    config = Fusion(n_dims=256, n_heads=8, n_layers=6, n_feedforward=1024, n_tracks=20, n_embedding=512)
    net = build_network(config, MODALITIES, "gated", 0)
    assert sum(p.numel() for p in net.parameters()) == 5_209_366 - 3 * 257


def test_the_recipe_is_that_of_the_document() -> None:
    settings = train_settings(Fusion(epochs=10, learning_rate=1e-4))
    assert (settings.optimizer, settings.weight_decay, settings.clip_norm) == ("adam", 1e-5, 1.0)
    rates = [learning_rate_at(settings, step, 530) for step in range(530)]
    assert max(rates) == rates[105] == rates[106] == 1e-4  # two of ten epochs with 53 batches
    assert rates[:106] == sorted(rates[:106])
    assert rates[106:] == sorted(rates[106:], reverse=True)
    assert rates[-1] == pytest.approx(1e-6)


def test_features_are_scaled_by_training_and_nan_stays_where_a_modality_is_absent() -> None:
    config = TINY.model_copy(update={"n_train": 200, "unknown": 0.3})
    sequences = make_sequences(layout_of(config), 0, range(224))
    batch = prepare(sequences, measure_scales(sequences, 200), MODALITIES, config.n_assets, torch.device("cpu"))
    for i, name in enumerate(MODALITIES):
        here = batch.present[..., i]
        assert batch.features[name][~here].isnan().all()
        assert batch.features[name][here].isfinite().all()
        known = torch.from_numpy(~np.isnan(sequences.features[name]))[:200]
        means = [x[k].mean() for x, k in zip(batch.features[name][:200].unbind(-1), known.unbind(-1), strict=True)]
        torch.testing.assert_close(torch.stack(means), torch.zeros(len(means)), atol=2e-3, rtol=0)
    unknown = torch.from_numpy(np.isnan(sequences.features["video"])) & batch.present[..., 1, None]
    assert unknown.any()
    assert not batch.features["video"][unknown].any()


def test_losses_are_the_formulas_over_active_tracks_only() -> None:
    batch = data().at(torch.arange(6))
    net = build_network(TINY, MODALITIES, "gated", 0).eval().requires_grad_(False)
    said = net(batch.features, batch.present)
    found = losses_of(build_losses({**EQUAL, "crop": 0.5}), said, batch)
    expected = dict.fromkeys(EQUAL, 0.0)
    n_active = int(batch.active.sum())
    for place in np.ndindex(*batch.active.shape):
        right = said.active[place].log_softmax(-1)[int(batch.active[place])]
        expected["active"] -= float(right) / batch.active.numel()
        if batch.active[place]:
            expected["asset"] -= float(said.asset[place].log_softmax(-1)[batch.asset[place].argmax()]) / n_active
            squares = (said.numbers[place] - batch.numbers[place]).square()
            for name, columns in (("scale", [0]), ("position", [1, 2]), ("crop", [3, 4, 5, 6])):
                expected[name] += float(squares[columns].mean()) / n_active
    assert {name: float(value) for name, value in found.terms.items()} == pytest.approx(expected, rel=1e-4)
    assert float(found.total) == pytest.approx(sum(expected.values()) - 0.5 * expected["crop"], rel=1e-4)


def test_idle_tracks_teach_neither_asset_nor_numbers() -> None:
    batch = data().at(torch.arange(6))
    said = build_network(TINY, MODALITIES, "added", 0).eval()(batch.features, batch.present)
    said.asset.retain_grad()
    said.numbers.retain_grad()
    losses_of(build_losses(EQUAL), said, batch).total.backward()
    for gradient in (said.asset.grad, said.numbers.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
        assert not gradient[~batch.active].any()
        assert gradient[batch.active].any()


def test_sequences_without_any_modality_are_left_out_and_too_few_are_a_sentence() -> None:
    config = TINY.model_copy(update={"absent": 0.5})
    alone = data(config, ("audio",))
    found = usable(alone, torch.arange(24), "training")
    assert 2 <= len(found) < 24
    assert alone.present[found].all()
    silent = Batch(alone.features, alone.present & False, alone.active, alone.asset, alone.numbers)
    with pytest.raises(AsdError, match=r"all modalities \(audio\) are absent somewhere in 24 of 24 training"):
        usable(silent, torch.arange(24), "training")
    net = build_network(config, ("audio",), "gated", 0)
    with pytest.raises(AsdError, match=r"all modalities \(audio\) are absent in 192 of 192 places"):
        net(silent.at(torch.arange(24)).features, silent.present[:24])


def test_a_feature_that_is_never_known_is_a_sentence() -> None:
    config = TINY.model_copy(update={"unknown": 1.0})
    sequences = make_sequences(layout_of(config), 0, range(24))
    with pytest.raises(AsdError, match=r"of the modality video is NaN in all 24 training sequences; lower"):
        measure_scales(sequences, 24)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_lowers_every_loss_and_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    config = TINY.model_copy(update={"modality_dropout": dropout, "learning_rate": 1e-2, "epochs": 6})
    batch = data(config)
    whole = build_network(config, MODALITIES, "gated", 1)
    fit(whole, batch, config, 1, tmp_path / "whole", "mark")
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert all(lines[-1][f"train_{name}"] < lines[0][f"train_{name}"] for name in ("loss", "active", "position"))
    terms = ("active", "asset", "scale", "position", "crop")
    assert lines[0]["train_loss"] == pytest.approx(sum(lines[0][f"train_{name}"] for name in terms), rel=1e-4)

    torn, calls = build_network(config, MODALITIES, "gated", 1), [0]
    real = type(torn).forward

    def failing(self: Any, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 8:
            raise RuntimeError("power cut")
        return real(self, *arguments)

    monkeypatch.setattr(type(torn), "forward", failing)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(torn, batch, config, 1, tmp_path / "torn", "mark")
    again = build_network(config, MODALITIES, "gated", 1)
    fit(again, batch, config, 1, tmp_path / "torn", "mark")
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_answers_without_looking_lose_the_entropy_of_the_training_data() -> None:
    batch = data().at(split_indices(TINY)["training"])
    terms = losses_of(build_losses(EQUAL), answer_frequencies(batch, (len(batch), TINY.n_steps)), batch).terms
    p = batch.active.float().mean((0, 1)).double().numpy()
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).mean()
    assert float(terms["active"]) == pytest.approx(entropy, rel=1e-4)
    spread = np.nanvar(batch.numbers.numpy(), axis=(0, 1))[:, 0]
    shares = batch.active.sum((0, 1)).numpy() / int(batch.active.sum())
    assert float(terms["scale"]) == pytest.approx(float((spread * shares).sum()), rel=1e-4)
