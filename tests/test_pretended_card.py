"""Commands on a card that is pretended: every tensor lies where those lie that it meets, and scores are the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from asd import library
from asd.scoring import neighbours
from tests.command import asd, succeeds
from tests.machines import tone_machine
from tests.pretended_card import OnCard, pretended_card
from tests.sounds import SOUNDSCAPES, TRAIN, write_events

SIZES = {"segment_samples": 8000, "epochs": 2, "batch_size": 8, "width": 2, "n_dims": 8, "windows_samples": 512}
ENCODER = ("detector=embedding", *(f"embedding.{name}={value}" for name, value in SIZES.items()))
PRECISE = "embedding.precision=float32"
COMMANDS = {
    "statistics": ("statistics.views=level_64,flux_16,envelope_spectrum",),
    "choose": ("statistics.choose=true", "statistics.views=level,joint"),
    "autoencoder": ("detector=autoencoder", "training.epochs=1", "training.precision=float32"),
    "compatible": ("detector=autoencoder", "compatible=true", "training.epochs=1", "training.precision=float32"),
    "embedding": ("detector=embedding", "embedding.faults.epochs=1"),
    "multires_cnn": (*ENCODER, "embedding.encoder=multires_cnn", PRECISE),
    "resnet_se": (*ENCODER, "embedding.encoder=resnet_se", PRECISE),
    "joint": (*ENCODER, "embedding.encoder=bottleneck", "embedding.joint=true", PRECISE),
    "auto": ("detector=auto", "embedding.faults.epochs=1"),
    "windows": ("window_s=0.5", "statistics.views=level_64"),
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda there: there + torch.ones(3),
        lambda there: torch.ones(3)[there.long()],
        lambda there: there.index_select(0, torch.tensor([0])),
        lambda there: there.__setitem__(torch.tensor([0]), 1.0),
        lambda there: torch.cat([there, torch.ones(3)]),
        lambda there: np.asarray(there),
        lambda there: torch.nn.Linear(3, 2)(there),
        lambda there: torch.randn(3, generator=torch.Generator(), device=there.device),
    ],
)
def test_what_cuda_refuses_is_refused(mistake: Callable[[torch.Tensor], object]) -> None:
    with pretended_card(), pytest.raises((RuntimeError, TypeError), match=r"device|numpy"):
        mistake(torch.zeros(3, device="cuda"))


def test_what_cuda_takes_is_taken() -> None:
    with pretended_card():
        there = torch.arange(3.0).to("cuda")
        there += torch.tensor(1.0)  # a number, wherever it lies
        there[:2] = torch.zeros(2)  # a copy
        assert (there[torch.tensor([2, 0])] * 2).tolist() == [6.0, 0.0]
        assert there.cpu().numpy().tolist() == [0.0, 0.0, 3.0]
        assert not isinstance(there.cpu(), OnCard)
        assert there.new_zeros(2).is_cuda
        assert torch.zeros_like(there).device.type == "cuda"
    assert not torch.cuda.is_available() or torch.cuda.get_device_name() != "pretended"


def test_a_network_learns_there_what_it_learns_here() -> None:
    found = []
    for device in ("cpu", "cuda"):
        with pretended_card():
            torch.manual_seed(0)
            network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
            network.to(device)
            optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
            for _ in range(3):
                network(torch.arange(12.0).view(4, 3).to(device)).square().sum().backward()
                optimizer.step()
            weight = network[0].weight
            assert weight.device.type == device
            assert weight.grad is not None
            assert weight.grad.device.type == device
            found.append(weight.detach().cpu().numpy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    "name", [name if name == "statistics" else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS]
)
def test_scores_there_are_those_here(name: str) -> None:
    for machine in ("fan", "pump") if name == "joint" else ("fan",):
        tone_machine(Path("data"), machine, n_train=16, n_target=4, n_test=2)
    command = ("train", "machine=fan", "data=data", *COMMANDS[name])
    succeeds(*command, "device=cpu", "name=here")
    neighbours._gpu_resources.cache_clear()  # whether a card was looked for
    with pretended_card():
        answer = succeeds(*command, "device=auto", "name=there")
        succeeds("score", "data=data", "machine=fan", "name=there", "device=cuda")
        succeeds("predict", "audio=data/fan/test", "machine=fan", "name=there", "device=cuda")
    assert answer.err.count("this faiss sees no GPU") == (name != "compatible")  # which searches no neighbours
    _same_scores()


def test_a_front_end_of_two_microphones() -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        soundfile.write(f"{i}.wav", rng.normal(0, 0.1, (8000, 2)), 16000)
    command = ("train", "machine=fan", "normal=.", "held_out=0.2", "frontend=cancel", "statistics.views=level_64")
    succeeds(*command, "device=cpu", "name=here")
    with pretended_card():
        succeeds(*command, "device=cuda", "name=there")
    _same_scores()


def test_a_model_scores_in_a_thread_of_its_own() -> None:
    rng = np.random.default_rng(0)
    waveforms = [rng.normal(0, 0.1, 8000).astype(np.float32) for _ in range(12)]
    found: list[float] = []
    with pretended_card():
        model = library.fit(waveforms, sample_rate_hz=16000, device="cuda", options={"views": ["level_64"]})
        thread = threading.Thread(target=lambda: found.append(model.score(waveforms[0] * 0.5, 16000).score))
        thread.start()
        thread.join()
        assert found == [model.score(waveforms[0] * 0.5, 16000).score]


@pytest.fixture
def without_onednn() -> Iterator[None]:
    """On a CPU it makes NaN of small convolutions in bfloat16."""
    is_enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    yield
    torch._C._set_mkldnn_enabled(is_enabled)


@pytest.mark.slow
@pytest.mark.usefixtures("without_onednn")
def test_half_the_digits_are_enough_to_train() -> None:
    tone_machine(Path("data"), n_train=16, n_target=4, n_test=2)
    with pretended_card():  # where nothing is said, a card trains in bfloat16
        succeeds("train", "data=data", *ENCODER, "embedding.encoder=multires_cnn", "name=there")
        answer = asd("evaluate", "name=there", "year=2023")
    assert answer.code == 0, answer.err


@pytest.mark.slow
@pytest.mark.usefixtures("without_onednn")
def test_event_detection_trains_and_scores() -> None:
    succeeds("sed", "make-soundscapes", f"events={write_events(Path('events'))}", *SOUNDSCAPES, "out=data")
    words = [word for word in TRAIN if word != "device=cpu"]
    with pretended_card():
        teacher = ("teacher.method=cmt_neg", "teacher.ramp_epochs=1")
        succeeds("sed", "train", "data=data", "runs=runs", "name=there", *words, *teacher, "device=cuda")
        succeeds("sed", "score", "name=there", "runs=runs", "audio=data/test", "device=cuda")
    succeeds("sed", "evaluate", "name=there", "runs=runs", "events=false")


def _same_scores() -> None:
    """Compares the tables of the runs `here` and `there`, whose trainings drift apart by rounding."""
    here, there = (sorted(Path("runs", run, "fan/seed0/scores").glob("*.csv")) for run in ("here", "there"))
    assert here
    assert [path.name for path in here] == [path.name for path in there]
    for one, other in zip(here, there, strict=True):
        first, second = (pd.read_csv(path)["score"].to_numpy(float) for path in (one, other))
        np.testing.assert_allclose(second, first, rtol=0, atol=0.1 * np.ptp(first), err_msg=one.name)
