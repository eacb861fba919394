from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.features.augment import (
    Exchange,
    Masks,
    Mixing,
    draw_exchange,
    draw_masks,
    draw_mixup,
    exchange_labels,
    exchange_parts,
    exchange_statistics,
    mask,
    mixup,
)

sizes = st.integers(1, 9)
shares = st.sampled_from([0.0, 0.5, 1.0])
seeds = st.integers(0, 1000)
quick = settings(max_examples=30)


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def soft_labels(n: int, seed: int, n_classes: int = 3) -> torch.Tensor:
    return torch.rand(n, n_classes, generator=rng(seed)).softmax(1)


@quick
@given(n=sizes, share=shares, seed=seeds)
def test_mixup_mixes_rows_and_labels_alike(n: int, share: float, seed: int) -> None:
    params = draw_mixup(n, share, rng(seed))
    x, labels = torch.randn(n, 20, generator=rng(seed + 1)), soft_labels(n, seed)
    mixed, mixed_labels = mixup(x, params), mixup(labels, params)
    assert torch.equal(mixed, mixup(x, draw_mixup(n, share, rng(seed))))
    for i in range(n):
        j, own = params.partner[i], params.own[i]
        torch.testing.assert_close(mixed[i], own * x[i] + (1 - own) * x[j])
        pair = Mixing(torch.tensor([1, 0]), torch.stack([own, own]))
        torch.testing.assert_close(mixup(torch.stack([x[i], x[j]]), pair)[0], mixed[i])
    torch.testing.assert_close(mixed_labels.sum(1), torch.ones(n))
    if share == 0:
        assert torch.equal(mixed, x)


@quick
@given(n=sizes, parts=st.integers(2, 4), share=shares, seed=seeds)
def test_exchanged_parts_come_whole_from_their_rows(n: int, parts: int, share: float, seed: int) -> None:
    params = draw_exchange(n, parts, share, rng(seed))
    x = torch.randn(n, parts, 5, generator=rng(seed + 1))
    exchanged = exchange_parts(x, params)
    assert torch.equal(exchanged[:, 0], x[:, 0])
    for i in range(n):
        for k in range(parts):
            assert torch.equal(exchanged[i, k], x[params.source[i, k], k])
    if share == 0:
        assert torch.equal(exchanged, x)


@quick
@given(n=sizes, parts=st.integers(2, 4), share=shares, seed=seeds)
def test_labels_of_an_exchange_say_which_part_is_whose(n: int, parts: int, share: float, seed: int) -> None:
    params = draw_exchange(n, parts, share, rng(seed))
    labels = soft_labels(n, seed)
    extended = exchange_labels(labels, params).view(n, 1 + parts, 3)
    torch.testing.assert_close(extended.sum((1, 2)), torch.ones(n))
    for i in range(n):
        if (params.source[i] == i).all():
            assert torch.equal(extended[i, 0], labels[i])
            assert not extended[i, 1:].any()
        else:
            assert not extended[i, 0].any()
            for k in range(parts):
                torch.testing.assert_close(extended[i, 1 + k], labels[params.source[i, k]] / parts)


@quick
@given(n=st.integers(2, 9), seed=seeds)
def test_exchanged_statistics_are_those_of_the_source(n: int, seed: int) -> None:
    params = draw_exchange(n, 2, 1.0, rng(seed))
    x = torch.rand(n, 6, 11, generator=rng(seed + 1)) * torch.rand(n, 6, 1, generator=rng(seed + 2)) + 0.01
    exchanged = exchange_statistics(x, params)
    source = params.source[:, 1]
    torch.testing.assert_close(exchanged.mean(-1), x[source].mean(-1), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(exchanged.std(-1), x[source].std(-1), rtol=1e-3, atol=1e-5)
    alone = torch.stack([x[0], x[source[0]]])
    one = Exchange(torch.tensor([[0, int(source[0] != 0)], [1, 1]]))
    torch.testing.assert_close(exchange_statistics(alone, one)[0], exchanged[0])


def test_bands_that_do_not_move_take_the_level_only() -> None:
    x = torch.stack([torch.full((2, 5), 3.0), torch.rand(2, 5, generator=rng(0))])
    exchanged = exchange_statistics(x, Exchange(torch.tensor([[0, 1], [1, 0]])))
    assert torch.isfinite(exchanged).all()
    torch.testing.assert_close(exchanged[0], x[1].mean(-1, keepdim=True).expand(2, 5))
    torch.testing.assert_close(exchanged[1], torch.full((2, 5), 3.0))


@quick
@given(n=sizes, widest=st.floats(0, 1), seed=seeds)
def test_masks_blank_one_band_and_one_stretch(n: int, widest: float, seed: int) -> None:
    params = draw_masks(n, widest, rng(seed))
    x = torch.ones(n, 40, 30)
    masked = mask(x, params)
    for i in range(n):
        row = Masks(*(values[i : i + 1] for values in params))
        assert torch.equal(mask(x[i : i + 1], row)[0], masked[i])
        bands = (masked[i].sum(1) == 0).long()
        assert bands.sum() <= widest * 40 + 1 or masked[i].sum() == 0
        assert (bands.diff() == 1).sum() <= 1
    assert torch.equal(mask(x[:, :, 0], params), (masked.sum(2) > 0).float()) or widest > 0.9
    if widest == 0:
        assert torch.equal(masked, x)
