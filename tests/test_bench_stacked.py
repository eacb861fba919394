from __future__ import annotations

import pytest
import torch

from asd.core.networks.autoencoder import MLPAutoencoder
from tools.bench_stacked import Stacked, main


def test_stacked_autoencoders_are_the_autoencoders_side_by_side() -> None:
    torch.manual_seed(0)
    members = [MLPAutoencoder(12, 6, 3).double() for _ in range(3)]
    windows = torch.randn(3, 20, 12, dtype=torch.float64)
    together, alone = Stacked(members), [member(x) for member, x in zip(members, windows, strict=True)]
    torch.testing.assert_close(together(windows), torch.stack(alone))
    together(windows)[1].square().sum().backward()
    alone[1].square().sum().backward()
    for stacked, weight in zip(together.weights, members[1].parameters(), strict=True):
        assert stacked.grad is not None
        torch.testing.assert_close(stacked.grad[1], weight.grad)
        assert not stacked.grad[[0, 2]].any()  # no machine learns from another


def test_the_table_has_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["machines=2", "batch=16", "steps=1", "rounds=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["one by one", "stacked"]
    assert float(lines[-1].split("differ by ")[1].split()[0]) < 1e-5
