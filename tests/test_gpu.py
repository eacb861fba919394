"""What is computed on a card equals what is computed on the CPU; run by tools/gpu_check.sh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from asd.core import executors
from asd.core.losses.cells import SoftCrossEntropy
from asd.core.losses.graph import GraphLaplacian
from asd.core.losses.metric_learning import LOSSES, loss_named
from asd.detectors.encoders.published import load_beats
from asd.features.logmel import LogMel
from asd.options import SideBySide
from tests.test_catalogue import NAMES, case, made
from tests.tiny_encoders import beats_pt

pytestmark = pytest.mark.gpu


def on_the_card(loss: torch.nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
    """Its value there, where the surrounding network runs in half precision."""
    with torch.autocast("cuda", torch.bfloat16):
        value: torch.Tensor = loss.cuda()(*(x.cuda() for x in inputs))
    assert value.dtype == torch.float32
    return value.cpu()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"ifl"}))
def test_losses_of_decisions(name: str) -> None:
    inputs = case(0, dtype=torch.float32)
    torch.testing.assert_close(on_the_card(made(name), *inputs), made(name)(*inputs), rtol=1e-4, atol=1e-5)


def test_losses_of_choices_and_graphs() -> None:
    logits, targets = case(1, dtype=torch.float32)
    shares = targets[:, 0].softmax(1)
    loss = SoftCrossEntropy("sum")
    expected = loss(logits[:, 0], shares)
    torch.testing.assert_close(on_the_card(loss, logits[:, 0], shares), expected, rtol=1e-4, atol=1e-5)
    graph = GraphLaplacian(torch.ones(4, 4))
    expected = graph(logits)
    torch.testing.assert_close(on_the_card(graph, logits), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_of_embeddings(name: str) -> None:
    torch.manual_seed(0)
    loss, x = loss_named(name, 16, 5), torch.randn(8, 16)
    labels = torch.nn.functional.one_hot(torch.arange(8) % 5, 5).float()
    expected = loss(x, labels).detach()
    found = on_the_card(loss, x, labels).detach()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_log_mel_of_a_batch() -> None:
    waves = torch.randn(5, 16000, generator=torch.Generator().manual_seed(0))
    there = LogMel().cuda()(waves.cuda()).cpu()
    torch.testing.assert_close(there, LogMel()(waves), rtol=0, atol=1e-2)


def test_a_checkpoint_saved_on_a_card_loads_without_one(tmp_path: Path) -> None:
    path = beats_pt(tmp_path)
    content = torch.load(path, weights_only=True)
    content["model"] = {name: tensor.cuda() for name, tensor in content["model"].items()}
    torch.save(content, path)
    assert {tensor.device.type for tensor in load_beats(path).state_dict().values()} == {"cpu"}


def test_faiss_searches_beside_a_network_that_trains() -> None:
    """Two libraries with CUDA runtimes of their own in one process, by turns."""
    from asd.scoring.neighbours import NeighbourBank

    vectors = np.random.default_rng(0).normal(size=(3000, 16))
    network = torch.nn.Linear(16, 16).cuda()
    expected = NeighbourBank(vectors).search(vectors[:50], 3).rows
    bank = NeighbourBank(vectors, device="cuda")
    for _ in range(3):
        network(torch.randn(64, 16, device="cuda")).square().mean().backward()
        np.testing.assert_array_equal(bank.search(vectors[:50], 3).rows, expected)


def test_one_process_per_card(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(executors, "_locally", lambda work, tasks, n_workers: asked.append(n_workers) or iter(()))
    assert not [*executors.finished(len, ["a", "b"], SideBySide(), device="cuda")]
    assert asked == [1]
