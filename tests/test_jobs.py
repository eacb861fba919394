from __future__ import annotations

from pathlib import Path

import pytest

from asd.settings.config import Run
from asd.stages.jobs import dataset_of, prepare
from asd.types import AsdError
from tests.machines import tone_machine, write_clip

SMALL = {"n_train": 6, "n_target": 2, "n_test": 1}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for machine in ("fan", "pump"):
        tone_machine(tmp_path / "data", machine, **SMALL)
    return tmp_path / "data"


def jobs(data: Path, **options: object) -> list:  # type: ignore[type-arg]
    config = Run(data=data, runs=data.parent / "runs", **options)  # type: ignore[arg-type]
    return list(prepare(config, dataset_of(config), learn=True))


def test_a_job_per_machine_and_seed(data: Path) -> None:
    found = jobs(data, seeds=[0, 1])
    assert [(job.run.machine, job.run.seed) for job in found] == [("fan", 0), ("fan", 1), ("pump", 0), ("pump", 1)]
    assert all(job.supplement.other_machines is None for job in found)
    assert found[0].fingerprint != found[1].fingerprint


def test_joint_learning_sees_the_other_machines_training_clips_only(data: Path) -> None:
    (job,) = jobs(data, machine=["pump"], detector="embedding", embedding={"encoder": "multires_cnn", "joint": True})
    assert {clip.machine for clip in job.supplement.other_machines.clips} == {"fan"}
    assert {clip.split for clip in job.supplement.other_machines.clips} == {"train"}
    write_clip(data / "fan/train/section_00_source_train_normal_0099_speed_1.wav", 99)
    (again,) = jobs(data, machine=["pump"], detector="embedding", embedding={"encoder": "multires_cnn", "joint": True})
    assert again.data != job.data
    (alone,) = jobs(data, machine=["pump"])
    assert alone.supplement.other_machines is None


def test_edited_clips_change_the_hash_and_copies_do_not(data: Path, tmp_path: Path) -> None:
    before = jobs(data, machine=["fan"])[0]
    tone_machine(tmp_path / "copy", "fan", **SMALL)
    assert jobs(tmp_path / "copy", machine=["fan"])[0].data == before.data
    write_clip(before.learn.clips[0].path, 77)
    assert jobs(data, machine=["fan"])[0].data != before.data


def test_an_unknown_machine_is_refused_before_any_work(data: Path) -> None:
    with pytest.raises(AsdError, match="did you mean pump"):
        jobs(data, machine=["fan", "pomp"])
    with pytest.raises(AsdError, match="did you mean pump"):
        jobs(data, machine=["pomp"], detector="embedding", embedding={"encoder": "multires_cnn", "joint": True})


@pytest.mark.parametrize(
    ("options", "least"),
    [
        *(({}, 2), ({"detector": "auto"}, 2), ({"detector": "embedding"}, 3)),
        ({"statistics": {"backend": "knn_smote"}}, 3),
    ],
)
def test_too_few_clips_of_a_machine_are_refused_before_any_work(
    data: Path, options: dict[str, object], least: int
) -> None:
    for place in sorted((data / "pump/train").iterdir())[:-least]:
        place.unlink()
    assert len(jobs(data, **options)) == 2
    next((data / "pump/train").iterdir()).unlink()
    with pytest.raises(AsdError, match=rf"pump has {least - 1} training clips, and \w+ learns from {least} or more"):
        next(iter(prepare(config := Run(data=data, **options), dataset_of(config), learn=True)))  # type: ignore[arg-type]
    assert len(jobs(data, window_s=0.5, **options)) == 2


def test_sections_without_clips_of_a_domain_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As their clips of that domain are scored by the other one, whatever other sections have."""
    for name, domains in (("00", ("source", "target")), ("01", ("source",)), ("02", ("source",))):
        for domain in domains:
            write_clip(tmp_path / f"data/fan/train/section_{name}_{domain}_train_normal_0000.wav", 0)
    jobs(tmp_path / "data")
    saying = "fan has no target training clips of section 01, 02: the other domain stands for both"
    assert [record.message for record in caplog.records if "stands for both" in record.message] == [saying]
    (tmp_path / "data/fan/train/section_00_target_train_normal_0000.wav").unlink()
    jobs(tmp_path / "data")
    assert "fan has no target training clips: the other domain" in caplog.text
