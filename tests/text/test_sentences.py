"""Sentence boundaries: cases, properties, and the articles whose boundaries were marked by reading."""

import json
import runpy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from strategies import NASTY, arabic
from timing import growth

from yaqin.inference.sentences import split

HERE = Path(__file__).parent
CASES = json.loads((HERE / "cases_split.json").read_text(encoding="utf-8"))
KNOWN_FAILURES = json.loads((HERE / "known_failures.json").read_text(encoding="utf-8"))["split"]
ARTICLES = json.loads((HERE / "cases_articles.json").read_text(encoding="utf-8"))
F1_PROMISED = 0.95


def unmark(marked: str) -> tuple[str, list[str]]:
    """Turn a case, whose `|` stands where a sentence ends, into its text and its sentences."""
    return marked.replace("|", ""), [part.strip() for part in marked.split("|") if part.strip()]


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split(text)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_text_is_cut_where_the_case_says(case: dict[str, str]) -> None:
    text, expected = unmark(case["text"])
    assert sentences(text) == expected


@pytest.mark.parametrize("case", KNOWN_FAILURES, ids=lambda case: case["why"])
@pytest.mark.xfail(strict=True, reason="known: needs more than a few characters of context")
def test_known_failures_still_fail(case: dict[str, str]) -> None:
    text, expected = unmark(case["text"])
    assert sentences(text) == expected


def test_there_are_enough_cases_and_none_twice() -> None:
    assert len({case["text"] for case in CASES}) == len({case["why"] for case in CASES}) == len(CASES) >= 60


@given(arabic)
def test_every_character_that_is_no_white_space_is_in_one_span(text: str) -> None:
    end = 0
    for start, next_end in split(text):
        assert end <= start < next_end <= len(text)
        assert not text[end:start].strip()
        assert text[start:next_end] == text[start:next_end].strip()
        end = next_end
    assert not text[end:].strip()


@given(arabic)
def test_a_sentence_split_again_is_that_sentence(text: str) -> None:
    for sentence in sentences(text):
        assert split(sentence) == [(0, len(sentence))]


@pytest.mark.parametrize("unit", NASTY, ids=ascii)
def test_time_grows_with_the_length_and_no_faster(unit: str) -> None:
    assert growth(split, unit) < 30  # eight times the text: linear 8 to 16, quadratic 64


def test_a_million_letters_without_a_space_are_one_sentence() -> None:
    assert split("ب" * 1_000_000) == [(0, 1_000_000)]


def boundary_f1(articles: Iterable[dict[str, Any]]) -> float:
    benchmark = runpy.run_path(str(HERE.parents[1] / "benchmarks" / "boundaries.py"))
    measure: Callable[..., tuple[float, float, float]] = benchmark["measure"]
    return measure(benchmark["our_ends"], articles)[2]


def test_boundaries_agree_with_those_read_in_news_articles(shared: Path) -> None:
    benchmark = runpy.run_path(str(HERE.parents[1] / "benchmarks" / "boundaries.py"))
    articles = benchmark["load"](shared)
    assert len(articles) == 100
    assert boundary_f1(articles) >= F1_PROMISED
    assert boundary_f1(articles[50:]) >= F1_PROMISED  # the rules were written on the first fifty


def test_boundaries_agree_with_those_of_our_own_articles() -> None:
    articles = []
    for marked in ARTICLES:
        parts = marked.split("|")
        ends = [len("".join(parts[: n + 1]).rstrip()) for n in range(len(parts))]
        articles.append({"text": "".join(parts), "ends": ends})
    assert sum(len(article["ends"]) for article in articles) >= 35
    assert boundary_f1(articles) >= F1_PROMISED


def test_the_measure_tells_a_splitter_that_cuts_nowhere_or_everywhere() -> None:
    benchmark = runpy.run_path(str(HERE.parents[1] / "benchmarks" / "boundaries.py"))
    article = {"text": "ا. ب. ج.", "ends": [2, 5, 8]}
    assert benchmark["measure"](lambda text: [len(text)], [article]) == (0.0, 0.0, 0.0)
    assert benchmark["measure"](lambda text: range(len(text)), [article]) == (2 / 8, 1.0, 0.4)
    assert benchmark["measure"](lambda text: [2, 5, 8], [article]) == (1.0, 1.0, 1.0)
