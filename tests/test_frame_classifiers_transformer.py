from __future__ import annotations

import pytest
import torch

from asd.core.networks.frame_classifiers import CNNTransformer
from asd.types import AsdError

SMALL = {"n_classes": 3, "channels": (8, 8, 8), "n_heads": 4, "n_feedforward": 16, "n_dense": 4}


def network(**changes: object) -> CNNTransformer:
    torch.manual_seed(0)
    return CNNTransformer(**(SMALL | changes))  # type: ignore[arg-type]


def log_mels(n: int, frames: int = 50) -> torch.Tensor:
    return torch.randn(n, frames, 64, generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize(
    ("n_feedforward", "expected"), [(2048, 1_488_217), (512, 698_713), (256, 567_129), (128, 501_337)]
)
def test_parameters_are_as_many_as_documented(n_feedforward: int, expected: int) -> None:
    net = CNNTransformer(n_feedforward=n_feedforward)
    assert sum(p.numel() for p in net.parameters()) == expected


def test_the_published_size_gives_a_logit_per_frame_and_class() -> None:
    net = CNNTransformer().eval()
    assert net(log_mels(1, 500)).shape == (1, 500, 25)
    assert net.features(log_mels(1, 500)).shape == (1, 500, net.n_features) == (1, 500, 32)


def test_gradients_reach_every_parameter() -> None:
    net = network()
    net(log_mels(4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


def test_a_clip_does_not_depend_on_its_company_nor_on_the_call() -> None:
    net, x = network().eval(), log_mels(5)
    with torch.no_grad():
        together = net(x)
        assert torch.equal(net(x), together)
        for i in range(5):
            torch.testing.assert_close(net(x[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(x).detach(), together, rtol=1e-4, atol=1e-5)  # torch's other path


def test_a_frame_sees_the_whole_clip_and_knows_where_it_stands() -> None:
    net = network().eval()
    x = log_mels(1).requires_grad_()
    net(x)[0, 20].sum().backward()
    assert x.grad is not None
    assert (x.grad[0].abs().sum(1) > 0).all()
    with torch.no_grad():
        same_everywhere = net(torch.ones(1, 50, 64))[0, 10:40]
    assert torch.pdist(same_everywhere).min() > 1e-5


@pytest.mark.parametrize("shape", [(2, 64, 50), (50, 64)])
def test_a_wrong_shape_is_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(AsdError, match=r"\(batch, frames, 64\) received the shape"):
        network()(torch.zeros(shape))


def test_heads_that_do_not_fit_are_told() -> None:
    with pytest.raises(AsdError, match="n_heads=3 does not divide the 8 features"):
        network(n_heads=3)
