"""Loss of a batch: what is labelled teaches, what is not does not, and the teacher speaks where no label does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from asd.core.networks.frame_classifiers import EventNetwork
from asd.core.semi import EmaTeacher
from asd.features.logmel import KaldiFbank
from asd.sed.config import Augmentation, Loss, Network, Teacher, Train
from asd.sed.dataset import Clips
from asd.sed.objective import Objective, _mixed
from asd.sed.training import build_network
from asd.types import AsdError

N_CLASSES, N_FRAMES, N_MELS = 3, 20, 8
STRONG, WEAK, BARE = [0, 1, 2], [3, 4, 5], [6, 7, 8]  # clips by what is known of them


def network(kind: str = "crnn", pooling: str = "attention") -> EventNetwork:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"channels": [4, 4], "pools": [4, 2], "n_recurrent": 4}
    sizes |= {"n_heads": 2, "n_layers": 1, "n_feedforward": 8}
    settings = Network.model_construct(kind=kind, pooling=pooling, **sizes)  # type: ignore[arg-type]
    return build_network(settings, N_CLASSES, N_MELS)


def clips() -> Clips:
    torch.manual_seed(1)
    frames = (torch.rand(9, N_FRAMES, N_CLASSES) < 0.4).float()
    absent = torch.zeros(9, N_FRAMES, dtype=torch.bool)
    absent[::2, 15:] = True
    frames[absent] = 0
    known = torch.arange(9)
    return Clips(torch.randn(9, N_FRAMES, N_MELS), absent, frames, frames.amax(1), known < 3, known < 6)


def objective(
    data: Clips | None = None,
    *,
    semi: Teacher | None = None,
    augment: Augmentation | None = None,
    ramp_steps: int = 0,
    **loss: Any,
) -> Objective:
    student = network()
    student.train()
    aim, ways = semi or Teacher(method="none"), augment or Augmentation()
    aim = aim.model_copy(update={"ramp_epochs": ramp_steps})  # the clips fit into one step
    config = Train(loss=Loss(**loss), teacher=aim, augment=ways)
    return Objective(config, student, EmaTeacher(student), data or clips())


def poisoned(data: Clips, which: list[int], name: str) -> Clips:
    """The same with NaN for the targets of some clips."""
    targets = getattr(data, name).clone()
    targets[which] = torch.nan
    parts = {field: getattr(data, field) for field in Clips.__dataclass_fields__}
    return Clips(**{**parts, name: targets})


@pytest.mark.parametrize("loss", ["bce", "srl", "ifl", "afl", "dice", "fbtl"])
@pytest.mark.parametrize("extra", [{}, {"activity": 1.0}, {"graph": 0.1}])
def test_every_loss_is_finite_and_moves_the_network(loss: str, extra: dict[str, float]) -> None:
    aim = objective(name=loss, **extra)
    total, terms = aim(torch.arange(9))
    total.backward()
    gradients = [p.grad for p in aim.student.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert any((g != 0).any() for g in gradients)
    assert terms.keys() == {"strong", "weak", *extra}
    assert aim.student.activity.weight.grad is not None or "activity" not in extra


def test_targets_that_are_not_known_are_never_looked_at() -> None:
    data = poisoned(poisoned(clips(), WEAK + BARE, "frame_targets"), BARE, "clip_targets")
    semi = Teacher(method="cmt_neg", positive=0.5, negative=0.49)
    for settings in ({}, {"name": "dice"}, {"activity": 1.0}, {"semi": semi}):
        total, terms = objective(data, **settings)(torch.arange(9))
        assert torch.isfinite(total)
        assert all(torch.isfinite(term) for term in terms.values())


def test_only_labelled_clips_decide_the_supervised_terms() -> None:
    aim = objective()
    aim.student.eval()
    _, all_clips = aim(torch.arange(9))
    _, strong = aim(torch.tensor(STRONG))
    torch.testing.assert_close(all_clips["strong"], strong["strong"])
    _, bare = aim(torch.tensor(BARE))
    assert bare["strong"].item() == bare["weak"].item() == 0


@pytest.mark.parametrize("method", ["mean_teacher", "cmt_normal", "cmt_neg"])
def test_the_teacher_speaks_only_where_no_label_does(method: str) -> None:
    semi = Teacher(method=method, positive=0.5, negative=0.49, window_frames=3)  # type: ignore[arg-type]
    aim = objective(semi=semi)
    aim.student.train()  # its batch normalisation differs from the teacher's: they disagree
    _, strong = aim(torch.tensor(STRONG))
    assert strong["consistency_clips"].item() == strong["consistency_frames"].item() == 0
    _, weak = aim(torch.tensor(WEAK))
    assert weak["consistency_clips"].item() == 0
    assert weak["consistency_frames"].item() > 0
    _, bare = aim(torch.tensor(BARE))
    assert bare["consistency_clips"].item() + bare["consistency_frames"].item() > 0


def test_no_gradient_reaches_the_teacher_and_both_masses_are_told() -> None:
    semi = Teacher(method="cmt_neg", positive=0.5, negative=0.49, window_frames=1)
    aim = objective(semi=semi)
    total, terms = aim(torch.arange(9))
    total.backward()
    assert all(p.grad is None for p in aim.teacher.parameters())
    masses = {name for name in terms if "mass" in name}
    assert masses == {f"{sign}_mass_{of}" for sign in ("positive", "negative") for of in ("clips", "frames")}
    assert terms["negative_mass_frames"].item() + terms["positive_mass_frames"].item() > 0


def test_the_ramp_follows_the_teacher_s_updates() -> None:
    aim = objective(semi=Teacher(method="mean_teacher", weight=1e6), ramp_steps=4, weak=0.0)
    aim.student.eval()
    torch.nn.init.normal_(aim.student.trunk.out.weight)  # so that they disagree
    shares = []
    for _ in range(6):
        total, terms = aim(torch.tensor(BARE))
        consistency = terms["consistency_clips"] + terms["consistency_frames"]
        shares.append(float((total / consistency / 1e6).detach()))
        aim.teacher.n_updates += 1
    assert shares[0] == pytest.approx(0.006738, rel=1e-3)  # exp(-5)
    assert shares == sorted(shares)
    assert shares[4] == shares[5] == pytest.approx(1.0)


def test_mixing_takes_the_labels_along_and_keeps_kinds_apart() -> None:
    data = clips()
    torch.manual_seed(3)
    mixed = _mixed(data, share=1.0)
    torch.manual_seed(3)
    own, _ = torch.rand(9), torch.rand(9)
    partner = torch.randperm(9)
    kind = torch.tensor([0] * 3 + [1] * 3 + [2] * 3)
    own = torch.where(kind == kind[partner], own, 1.0)
    assert (own < 1).any()
    for name in ("log_mel", "frame_targets", "clip_targets"):
        x = getattr(data, name)
        w = own.view(-1, *[1] * (x.dim() - 1))
        torch.testing.assert_close(getattr(mixed, name), w * x + (1 - w) * x[partner])
    untouched = own == 1
    assert torch.equal(mixed.padding[untouched], data.padding[untouched])


def test_a_mask_blanks_the_student_s_ears_only() -> None:
    aim = objective(augment=Augmentation(mask=0.9))
    torch.manual_seed(0)
    batch, blanked = aim._batch(torch.arange(9))
    assert torch.equal(batch.log_mel, aim.clips.log_mel)
    assert (blanked == 0).sum() > (batch.log_mel == 0).sum()


@pytest.mark.parametrize("kind", ["crnn", "transformer"])
@pytest.mark.parametrize("pooling", ["attention", "linear_softmax"])
def test_networks_hear_frames_clips_and_activity(kind: str, pooling: str) -> None:
    data = clips()
    heard = network(kind, pooling)(data.log_mel, data.padding)
    assert heard.frames.shape == (9, N_FRAMES, N_CLASSES)
    assert heard.clips.shape == (9, N_CLASSES)
    assert heard.activity.shape == (9, N_FRAMES)


def test_no_unknown_name_becomes_a_default() -> None:
    with pytest.raises(ValidationError, match=r"'crnn' or 'transformer'"):
        Network(kind="crnnn")  # type: ignore[arg-type]
    with pytest.raises(AsdError, match=r"network.kind=crnnn is unknown; choose crnn or transformer"):
        network("crnnn")
    with pytest.raises(AsdError, match=r"pooling=linear is unknown; there are attention, linear_softmax"):
        network(pooling="linear")
    with pytest.raises(ValidationError, match=r"'none', 'mean_teacher', 'cmt_normal' or 'cmt_neg'"):
        Teacher(method="cmt")  # type: ignore[arg-type]
    with pytest.raises(AsdError, match=r"window=hann is unknown; choose one of povey, hanning"):
        KaldiFbank("hann")  # type: ignore[arg-type]
