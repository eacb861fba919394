from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.core.networks.gated_fusion import FUSIONS, GatedFusion, MultimodalTransformer, drop_modalities
from asd.types import AsdError

WIDTHS = {"audio": 3, "video": 5, "track": 4}
SMALL = {"n_numbers": 7, "n_tracks": 6, "n_assets": 4, "n_dims": 16, "n_heads": 4, "n_layers": 2}


def fusion(kind: str) -> GatedFusion:
    torch.manual_seed(0)
    return GatedFusion(WIDTHS, 8, kind)


def transformer(kind: str = "gated") -> MultimodalTransformer:
    torch.manual_seed(0)
    return MultimodalTransformer(WIDTHS, fusion=kind, n_feedforward=32, **SMALL).eval()  # type: ignore[arg-type]


def inputs(*places: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(*places, n, generator=generator) for name, n in WIDTHS.items()}


def presence(*places: int, seed: int = 0) -> torch.Tensor:
    """Random presence, at least one modality in every place and every modality absent somewhere."""
    present = torch.rand(*places, 3, generator=torch.Generator().manual_seed(seed)) < 0.6
    present[..., 2] |= ~present.any(-1)
    assert not present.flatten(0, -2).all(0).any()
    return present


def spoiled(features: dict[str, torch.Tensor], present: torch.Tensor, value: float) -> dict[str, torch.Tensor]:
    """The features with `value` wherever a modality is absent, as leaves that take gradients."""
    return {
        name: torch.where(present[..., i, None], x, value).requires_grad_()
        for i, (name, x) in enumerate(features.items())
    }


def track_only() -> MultimodalTransformer:
    """Twenty tracks with active, asset and seven numbers at a step, which are outputs too; no other modality."""
    return MultimodalTransformer({"track": 20 * 9}, n_numbers=7, fusion="added")


def described() -> MultimodalTransformer:
    """The published model; only with ten numbers as outputs and one dense layer per gate does the count come out."""
    return MultimodalTransformer({"audio": 4, "video": 522, "track": 20 * 12}, n_numbers=10)


def n_parameters(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_parameters_are_as_many_as_documented() -> None:
    assert n_parameters(track_only()) == 4_860_691
    assert n_parameters(described()) == 5_209_366


def test_the_published_model_predicts_twenty_tracks() -> None:
    net = described().eval()
    features = {"audio": torch.zeros(1, 3, 4), "video": torch.zeros(1, 3, 522), "track": torch.zeros(1, 3, 240)}
    with torch.no_grad():
        out = net(features)
    assert out.active.shape == (1, 3, 20, 2)
    assert out.asset.shape == (1, 3, 20, 10)
    assert out.numbers.shape == (1, 3, 20, 10)
    assert out.gates is not None
    assert out.gates.shape == (1, 3, 3, 256)


def test_the_track_only_model_has_heads_of_two_ten_and_seven() -> None:
    with torch.no_grad():
        out = track_only().eval()({"track": torch.zeros(2, 4, 180)})
    assert [x.shape for x in out[:3]] == [(2, 4, 20, 2), (2, 4, 20, 10), (2, 4, 20, 7)]
    assert out.gates is None


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30])
def test_what_stands_in_an_absent_modality_changes_neither_output_nor_gradient(kind: str, value: float) -> None:
    net, features, present = transformer(kind), inputs(3, 7), presence(3, 7)
    results = []
    for absent in (0.0, value):
        net.zero_grad()
        x = spoiled(features, present, absent)
        out = net(x, present)
        sum(part.square().sum() for part in out[:3]).backward()
        results.append([*out[:3], *(p.grad for p in net.parameters()), *(x[name].grad for name in WIDTHS)])
    for clean, dirty in zip(*results, strict=True):
        assert clean.isfinite().all()
        assert torch.equal(clean, dirty)
    for i, gradient in enumerate(results[1][-3:]):
        assert not gradient[~present[..., i]].any()
        assert gradient[present[..., i]].any()


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(FUSIONS))
def test_a_modality_alone_gives_what_its_values_give_and_nothing_else(seed: int, kind: str) -> None:
    net, features, other = fusion(kind), inputs(4, seed=seed), inputs(4, seed=seed + 1)
    present = torch.zeros(4, 3, dtype=torch.bool)
    present[:, seed % 3] = True
    name = list(WIDTHS)[seed % 3]
    assert torch.equal(net(features, present).vectors, net(other | {name: features[name]}, present).vectors)


def test_added_is_the_sum_of_embeddings_and_gated_that_of_gated_ones() -> None:
    features = inputs(2, 5)
    added, gated = fusion("added"), fusion("gated")
    parts = [added.embed[name](features[name]) for name in WIDTHS]
    torch.testing.assert_close(added(features).vectors, parts[0] + parts[1] + parts[2])
    parts = [gated.embed[name](features[name]) for name in WIDTHS]
    gates = [gated.gate[name](part).sigmoid() for name, part in zip(WIDTHS, parts, strict=True)]
    out = gated(features)
    torch.testing.assert_close(out.vectors, sum(g * e for g, e in zip(gates, parts, strict=True)))
    torch.testing.assert_close(out.gates, torch.stack(gates, -2))


def test_gates_lie_between_zero_and_one_and_are_shut_where_nothing_is() -> None:
    present = presence(4, 6)
    gates = fusion("gated")(spoiled(inputs(4, 6), present, float("nan")), present).gates
    assert gates is not None
    assert gates.shape == (4, 6, 3, 8)
    assert torch.equal(gates.bool().any(-1), present)
    assert ((gates >= 0) & (gates <= 1)).all()


@pytest.mark.parametrize("kind", FUSIONS)
def test_gradients_reach_every_parameter(kind: str) -> None:
    net = transformer(kind)
    sum(part.square().sum() for part in net(inputs(2, 5))[:3]).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_sequence_does_not_depend_on_its_company_nor_on_the_call(kind: str) -> None:
    net, features, present = transformer(kind), inputs(4, 6), presence(4, 6)
    with torch.no_grad():
        together = net(features, present)
        again = net(features, present)
        assert all(torch.equal(a, b) for a, b in zip(together[:3], again[:3], strict=True))
        for i in range(4):
            alone = net({name: x[i : i + 1] for name, x in features.items()}, present[i : i + 1])
            for a, b in zip(alone[:3], together[:3], strict=True):
                torch.testing.assert_close(a[0], b[i], rtol=1e-4, atol=1e-5)


def test_steps_know_their_order() -> None:
    net, features = transformer(), inputs(1, 6)
    backwards = net({name: x.flip(1) for name, x in features.items()}).active.flip(1)
    assert not torch.allclose(net(features).active, backwards, atol=1e-4)


def test_attention_adds_up_to_one_and_carries_the_forward_pass() -> None:
    net, features, present = transformer(), inputs(2, 5), presence(2, 5)
    entered: list[torch.Tensor] = []
    hook = net.encoder.layers[1].register_forward_pre_hook(lambda _, arguments: entered.append(arguments[0]))
    net(features, present)
    hook.remove()
    weights = net.attention(features, present)
    assert weights.shape == (2, 2, 4, 5, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 4, 5))
    x, attend = entered[0], net.encoder.layers[1].self_attn
    values = torch.nn.functional.linear(x, attend.in_proj_weight[32:], attend.in_proj_bias[32:])
    mixed = (weights[1] @ values.unflatten(2, (4, 4)).transpose(1, 2)).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attend.out_proj(mixed), attend(x, x, x)[0])


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), probability=st.floats(0, 1))
def test_dropping_takes_whole_modalities_and_never_the_last(seed: int, probability: float) -> None:
    present = torch.rand(5, 7, 3, generator=torch.Generator().manual_seed(seed)) < 0.7
    present[..., 0] |= ~present.any(-1)
    kept = drop_modalities(present, probability, torch.Generator().manual_seed(seed))
    assert torch.equal(kept, drop_modalities(present, probability, torch.Generator().manual_seed(seed)))
    assert not (kept & ~present).any()
    assert kept.any(-1).all()
    for before, after in zip(present, kept, strict=True):
        lost = (before & ~after).any(0)
        assert not lost.all()
        untouched = (before == after).all(1)  # steps that kept all, as they would have lost their last
        assert not after[~untouched][:, lost].any()


def test_modalities_are_dropped_as_often_as_asked() -> None:
    present, generator = torch.ones(20_000, 3, dtype=torch.bool), torch.Generator().manual_seed(0)
    assert torch.equal(drop_modalities(present, 0.0, generator), present)
    lost = 1 - drop_modalities(present, 0.3, generator).float().mean(0)
    torch.testing.assert_close(lost, torch.full((3,), 0.3 - 0.3**3), atol=0.01, rtol=0)
    assert torch.equal(drop_modalities(present, 1.0, generator), present)
    with pytest.raises(AsdError, match=r"probability=1.5 .* outside 0 to 1"):
        drop_modalities(present, 1.5, generator)


def test_a_place_without_any_modality_is_told() -> None:
    present = torch.ones(2, 5, 3, dtype=torch.bool)
    present[1, 3] = False
    with pytest.raises(AsdError, match=r"all modalities \(audio, video, track\) are absent in 1 of 10 places"):
        transformer()(inputs(2, 5), present)


def test_features_and_presence_that_do_not_fit_are_told() -> None:
    net, features = transformer(), inputs(2, 5)
    with pytest.raises(AsdError, match=r"'track': \(2, 5, \d+\)\} received \{'audio': .*; give every modality"):
        net({name: features[name] for name in ("audio", "video")})
    with pytest.raises(AsdError, match=r"'video': \(2, 5, 5\).* received .*'video': \(2, 5, 4\)"):
        net(features | {"video": torch.zeros(2, 5, 4)})
    with pytest.raises(AsdError, match=r"'track': \(2, 5, 4\).* received .*'track': \(2, 4, 4\)"):
        net(features | {"track": torch.zeros(2, 4, 4)})
    with pytest.raises(AsdError, match=r"present is torch.float32 of shape \(2, 5, 3\), not torch.bool"):
        net(features, torch.ones(2, 5, 3))
    with pytest.raises(AsdError, match=r"torch.bool of shape \(2, 3\), not torch.bool of shape \(2, 5, 3\)"):
        net(features, torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(AsdError, match="modalities with 2 axes"):
        net(inputs(5))


def test_networks_that_cannot_be_are_told() -> None:
    with pytest.raises(AsdError, match="fusion=sum is unknown; there are gated, concatenated, added"):
        GatedFusion(WIDTHS, fusion="sum")
    with pytest.raises(AsdError, match="received no modality"):
        GatedFusion({})
    with pytest.raises(AsdError, match="n_heads=3 does not divide n_dims=16"):
        MultimodalTransformer(WIDTHS, n_dims=16, n_heads=3)


def test_training_learns_from_whichever_modality_is_there() -> None:
    torch.manual_seed(0)
    net, generator = fusion("gated"), torch.Generator().manual_seed(0)
    head = torch.nn.Linear(8, 1)
    signal = torch.randn(256, generator=generator).sign()
    features = {name: x + signal[:, None] for name, x in inputs(256).items()}
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=3e-2)
    full = torch.ones(256, 3, dtype=torch.bool)
    for _ in range(40):
        optimizer.zero_grad()
        logits = head(net(features, drop_modalities(full, 0.5, generator)).vectors)[:, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(logits, (signal > 0).float()).backward()
        optimizer.step()
    for i in range(3):
        alone = torch.zeros(256, 3, dtype=torch.bool)
        alone[:, i] = True
        assert ((head(net(features, alone).vectors)[:, 0] > 0) == (signal > 0)).float().mean() > 0.9
