"""The shared vocabulary: front ends as values and in words, names in sentences, sections by any spelling."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from asd.types import AsdError, Clip, FrontEnd, Split, count_and_first, in_utf8, named, one_of, section_among

FRONT_ENDS = [
    FrontEnd(),
    FrontEnd("mean", channel="mean"),
    FrontEnd("cancel", residual=0.25, channel=3),
    FrontEnd("subtract", profile=(0.5, 2.0), activity=(1.0, -1.0, 0.0)),
]


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=str)
def test_a_front_end_is_the_same_after_a_file_of_json(front_end: FrontEnd) -> None:
    again = FrontEnd.of_dict(json.loads(json.dumps(asdict(front_end))))
    assert again == front_end
    assert hash(again) == hash(front_end)
    assert again.key() == front_end.key()


def test_what_decides_the_waveform_tells_front_ends_apart() -> None:
    others = [FrontEnd("far"), FrontEnd(channel=0), FrontEnd(profile=(1.0,)), FrontEnd(activity=(1.0,))]
    keys = [str(front_end.key()) for front_end in (FrontEnd(), *others)]
    assert len({*keys}) == 5
    assert FrontEnd(residual=0.5).key() == FrontEnd().key()  # of vectors, not of waveforms
    assert [front_end.is_plain for front_end in (FrontEnd(), *others)] == [True, False, True, False, False]


@pytest.mark.parametrize(
    ("front_end", "n"), [(FrontEnd(), 1), (FrontEnd(residual=0.1), 2), (FrontEnd("mean"), 2), (FrontEnd(channel=1), 1)]
)
def test_only_the_plain_near_microphone_is_one(front_end: FrontEnd, n: int) -> None:
    assert front_end.n_microphones == n


@pytest.mark.parametrize(
    ("front_end", "words"),
    [
        (FrontEnd(), None),
        (FrontEnd("mean"), "mean of both microphones"),
        (FrontEnd("far"), "far microphone"),
        (FrontEnd("subtract"), "spectral subtraction of the far microphone"),
        (FrontEnd(channel=2), "channel 2"),
        (FrontEnd("cancel", channel=0), "least-squares cancellation of the far microphone, channel 0"),
        (FrontEnd(residual=0.5), "minus 0.5 times the far microphone's vector"),
        (FrontEnd(profile=(1.0,)), "spectral subtraction of a noise profile"),
        (FrontEnd(activity=(1.0,)), "frames weighted by machine activity"),
    ],
)
def test_a_front_end_in_the_words_of_a_submission(front_end: FrontEnd, words: str | None) -> None:
    assert front_end.description() == words


def test_a_clip_is_called_by_its_file_or_by_the_name_that_tables_need() -> None:
    path = Path("train/a\udcff.wav")
    assert Clip(path, "fan", "00", Split.TRAIN).name == "a\\udcff.wav"
    assert Clip(path, "fan", "00", Split.TRAIN, file="train/b.wav").name == "train/b.wav"
    assert in_utf8("Lüfter.wav") == "Lüfter.wav"


def test_five_names_are_spelled_out_and_the_rest_is_counted() -> None:
    assert named(["a"]) == "a"
    assert named([*"abcde"]) == "a, b, c, d, e"
    assert named([*"abcdef"]) == "a, b, c, d, e and 1 more"
    assert named(["b", "a", "c", "d"], most=2) == "b, a and 2 more"
    assert named(["b", "a"], most=2) == "b, a"


def test_a_sentence_counts_and_names_the_first() -> None:
    assert count_and_first(["b", "a", "c"]) == "3 (the first a)"
    assert count_and_first(iter(["b", "a"])) == "2 (the first a)"
    assert count_and_first(["a"]) == "1 (a)"


def test_a_choice_is_given_back_or_refused_with_all_there_are() -> None:
    assert one_of("far", ["near", "far"], "front_end") == "far"
    with pytest.raises(AsdError, match=r"^front_end=up is unknown; there are near, far$"):
        one_of("up", ["near", "far"], "front_end")


def test_a_section_is_known_by_its_number_or_its_name() -> None:
    assert section_among(["00", "a"], "a", "fan") == "a"
    known = ["00", "03", "10", "hall"]
    assert [section_among(known, given, "fan") for given in ("3", "03", "0", "10", "hall")] == [
        "03", "03", "00", "10", "hall"
    ]  # fmt: skip


@pytest.mark.parametrize("given", ["4", "", "ha", "010", "-3"])
def test_a_section_that_was_not_trained_on_is_refused_with_all_that_were(given: str) -> None:
    with pytest.raises(AsdError) as caught:
        section_among(["00", "03", ""], given, "fan")
    assert str(caught.value) == f"section={given} is none that the model of fan was trained on; it has 00, 03, "
