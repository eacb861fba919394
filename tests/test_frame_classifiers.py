from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.core.networks.frame_classifiers import CRNN, CNNTransformer, FrameClassifier, FrequencyPooledCNN
from asd.types import AsdError


def crnn(n_classes: int = 3) -> CRNN:
    torch.manual_seed(0)
    return CRNN(n_classes, FrequencyPooledCNN(channels=(8, 8, 8)), n_recurrent=4)


def transformer(n_heads: int = 4) -> CNNTransformer:
    torch.manual_seed(0)
    convolutions = FrequencyPooledCNN(channels=(8, 8, 8))
    return CNNTransformer(3, convolutions, n_heads=n_heads, n_feedforward=16)


BOTH = pytest.mark.parametrize("network", [crnn, transformer])


def log_mels(n: int, frames: int = 50, mels: int = 64) -> torch.Tensor:
    return torch.randn(n, frames, mels, generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: CRNN(), 331_225),
        (lambda: CNNTransformer(n_feedforward=2048), 1_488_217),
        (lambda: CNNTransformer(), 698_713),
        (lambda: CNNTransformer(n_feedforward=256), 567_129),
        (lambda: CNNTransformer(n_feedforward=128), 501_337),
    ],
)
def test_parameters_are_as_many_as_documented(build: Callable[[], FrameClassifier], expected: int) -> None:
    assert sum(p.numel() for p in build().parameters()) == expected


@pytest.mark.parametrize("kind", [CRNN, CNNTransformer])
def test_the_published_size_gives_a_logit_per_frame_and_class(kind: Any) -> None:
    net = kind().eval()
    assert net(log_mels(1, 500)).shape == (1, 500, 25)
    assert net.features(log_mels(1, 500)).shape == (1, 500, net.n_features) == (1, 500, 32)


@settings(max_examples=20)
@given(frames=st.integers(1, 40), mels=st.integers(2, 70), pools=st.tuples(*[st.integers(1, 5)] * 2))
def test_every_frame_is_kept_whatever_is_pooled(frames: int, mels: int, pools: tuple[int, int]) -> None:
    bands = mels // pools[0] // pools[1]
    if not bands:
        with pytest.raises(AsdError, match=f"leaves nothing of {mels} mel bands"):
            FrequencyPooledCNN(mels, (2, 3), pools)
        return
    cnn = FrequencyPooledCNN(mels, (2, 3), pools)
    assert cnn(log_mels(2, frames, mels)).shape == (2, frames, cnn.n_features) == (2, frames, 3 * bands)


def test_convolutions_look_three_frames_ahead() -> None:
    net = crnn().eval()
    x = log_mels(1).requires_grad_()
    net.convolutions(x)[0, 20].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(1).nonzero().flatten()
    assert (int(seen.min()), int(seen.max())) == (17, 23)


@BOTH
def test_a_frame_depends_on_the_whole_clip(network: Callable[[], FrameClassifier]) -> None:
    x = log_mels(1).requires_grad_()
    network().eval()(x)[0, 20].sum().backward()
    assert x.grad is not None
    assert (x.grad[0].abs().sum(1) > 0).all()


def test_attention_depends_on_the_order_of_frames() -> None:
    with torch.no_grad():
        same_everywhere = transformer().eval()(torch.ones(1, 50, 64))[0, 10:40]
    assert torch.pdist(same_everywhere).min() > 1e-5


@BOTH
def test_gradients_reach_every_parameter(network: Callable[[], FrameClassifier]) -> None:
    net = network()
    net(log_mels(4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


@BOTH
def test_a_clip_does_not_depend_on_its_company_nor_on_the_call(network: Callable[[], FrameClassifier]) -> None:
    net, x = network().eval(), log_mels(5)
    with torch.no_grad():
        together = net(x)
        assert torch.equal(net(x), together)
        for i in range(5):
            torch.testing.assert_close(net(x[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(x).detach(), together, rtol=1e-4, atol=1e-5)  # torch's other path


@BOTH
@pytest.mark.parametrize("shape", [(2, 64, 50), (50, 64), (2, 1, 50, 64)])
def test_a_wrong_shape_is_told(network: Callable[[], FrameClassifier], shape: tuple[int, ...]) -> None:
    with pytest.raises(AsdError, match=r"\(batch, frames, 64\) received the shape"):
        network()(torch.zeros(shape))


def test_unequal_channels_and_pools_are_told() -> None:
    with pytest.raises(AsdError, match=r"3 convolutions .* have 2 poolings"):
        FrequencyPooledCNN(pools=(8, 4))


def test_heads_that_do_not_fit_are_told() -> None:
    with pytest.raises(AsdError, match="n_heads=3 does not divide the 8 features"):
        transformer(n_heads=3)


@pytest.mark.slow
def test_training_finds_an_event_where_it_is() -> None:
    net, x = crnn(n_classes=1), log_mels(8)
    active = torch.zeros(8, 50, 1)
    for clip, onset in enumerate(range(2, 34, 4)):
        active[clip, onset : onset + 10] = 1
    x = x + 2 * active
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-2)
    for _ in range(25):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(net(x), active).backward()
        optimizer.step()
    assert ((net(x) > 0) == active.bool()).float().mean() > 0.97
