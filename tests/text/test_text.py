"""Text preparation: cases, properties, and what AraBERT's own package does instead where it differs."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from strategies import NASTY, arabic
from timing import growth

from yaqin.inference.text import STEPS, has_arabic, prepare

HERE = Path(__file__).parent
CASES = json.loads((HERE / "cases_prepare.json").read_text(encoding="utf-8"))
KNOWN_FAILURES = json.loads((HERE / "known_failures.json").read_text(encoding="utf-8"))["prepare"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_text_is_prepared_as_the_case_says(case: dict[str, str]) -> None:
    assert prepare(case["text"]) == case["prepared"]


@pytest.mark.parametrize("case", KNOWN_FAILURES, ids=lambda case: case["why"])
@pytest.mark.xfail(strict=True, reason="known: AraBERT was trained on text prepared this way")
def test_known_failures_still_fail(case: dict[str, str]) -> None:
    assert prepare(case["text"]) == case["prepared"]


def test_there_are_enough_cases_and_none_twice() -> None:
    assert len({case["text"] for case in CASES}) == len({case["why"] for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("step", STEPS)
def test_every_step_changes_some_case(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS, step, lambda text: text)
    assert any(prepare(case["text"]) != case["prepared"] for case in CASES)


def test_arabert_does_the_same_save_where_a_case_says_what_it_does() -> None:
    arabert = pytest.importorskip("arabert.preprocess", reason="compares with the package `arabert`, not installed")
    preprocessor = arabert.ArabertPreprocessor("aubmindlab/bert-base-arabertv02")
    for case in CASES:
        assert preprocessor.preprocess(case["text"]) == case.get("arabert", case["prepared"]), case["why"]


@given(arabic)
def test_preparing_twice_is_preparing_once(text: str) -> None:
    prepared = prepare(text)
    assert prepare(prepared) == prepared


@given(arabic)
def test_prepared_text_is_one_line_that_any_tokenizer_can_encode(text: str) -> None:
    prepared = prepare(text)
    assert prepared == " ".join(prepared.split())
    assert prepared.encode("utf-8").decode("utf-8") == prepared  # no lone surrogate is left


@pytest.mark.parametrize("unit", NASTY, ids=ascii)
def test_time_grows_with_the_length_and_no_faster(unit: str) -> None:
    assert growth(prepare, unit) < 30  # eight times the text: linear 8 to 16, quadratic 64


def test_a_million_letters_without_a_space_are_prepared() -> None:
    assert prepare("بت" * 500_000) == "بت" * 500_000


@pytest.mark.parametrize("text", ["خبر", "BBC: نعم", "ﻗﺎﻝ", "گ"])
def test_arabic_letters_are_seen(text: str) -> None:
    assert has_arabic(text)


@pytest.mark.parametrize("text", ["", "BBC", "12 ٣٤", "؟،.", "\u064b\u0640", "שלום"])
def test_signs_and_other_scripts_are_no_arabic_letters(text: str) -> None:
    assert not has_arabic(text)
