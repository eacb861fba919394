from __future__ import annotations

import pytest
import torch

from asd.detectors.encoders.gated import MODALITIES, Gated
from asd.detectors.encoders.labels import CODE_DIMS

N_SAMPLES = 8192


def encoder(**changes: object) -> Gated:
    torch.manual_seed(0)
    return Gated(N_SAMPLES, n_dims=8, **changes).eval()  # type: ignore[arg-type]


def noise(n: int = 3) -> torch.Tensor:
    return 0.1 * torch.randn(n, N_SAMPLES, generator=torch.Generator().manual_seed(0))


def codes(n: int = 3) -> torch.Tensor:
    return torch.randn(n, CODE_DIMS, generator=torch.Generator().manual_seed(1))


def test_an_embedding_is_taken_without_attributes() -> None:
    gated = encoder()
    spectra = gated.spectra(noise())
    with torch.no_grad():
        plain = gated(noise())
        absent = gated.encode([*spectra, torch.full((3, CODE_DIMS), torch.nan)])
        told = gated.encode([*spectra, codes()])
    assert plain.shape == (3, gated.n_parts, gated.n_dims) == (3, 1, 8)
    torch.testing.assert_close(plain.norm(dim=2), torch.ones(3, 1))
    assert torch.equal(plain, absent)
    assert not torch.allclose(plain, told)


def test_gates_of_absent_modalities_are_zero_and_shares_add_up_to_one() -> None:
    gated = encoder()
    some = codes()
    some[0] = torch.nan
    with torch.no_grad():
        gates, shares = gated.listening([*gated.spectra(noise()), some])
    assert (gates[:, :2] > 0).all()
    assert (gates[:, 2] > 0).tolist() == [False, True, True]
    assert shares[0, 2] == 0
    torch.testing.assert_close(shares.sum(1), torch.ones(3))


def test_shares_are_those_of_the_fused_vector() -> None:
    gated = encoder(modalities=("spectrum",))
    with torch.no_grad():
        assert torch.allclose(gated.listening(gated.spectra(noise())).shares, torch.ones(3, 1))


def test_branches_are_withheld_in_training_only_and_by_torchs_seed() -> None:
    gated = encoder(dropout=0.9)
    spectra = gated.spectra(noise(64))
    assert torch.equal(gated.encode(spectra), gated.encode(spectra))
    gated.train()
    gated.log_mel.eval()
    gated.spectrum.eval()
    torch.manual_seed(5)
    first = gated.encode(spectra)
    second = gated.encode(spectra)
    torch.manual_seed(5)
    assert torch.equal(first, gated.encode(spectra))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("modalities", [("log_mel",), ("spectrum", "attribute"), MODALITIES])
def test_every_weight_of_what_is_in_use_has_a_gradient(modalities: tuple[str, ...]) -> None:
    gated = encoder(modalities=modalities, dropout=0.0).train()
    told = [codes(8)] if "attribute" in modalities else []
    gated.encode([*gated.spectra(noise(8)), *told]).sum().backward()
    for name, parameter in gated.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_level_is_heard_only_where_it_is_asked_for() -> None:
    for level in (True, False):
        gated = encoder(level=level)
        with torch.no_grad():
            same = torch.allclose(gated(noise()), gated(0.1 * noise()), atol=1e-4)
        assert same is not level
