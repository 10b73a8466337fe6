"""Sentences in, tags out: in their order, with exact offsets, whatever stands beside them."""

import json
import random
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yaqin.inference import tagger as tagger_module
from yaqin.inference.checkpoint import LABELS
from yaqin.inference.report import seed_article
from yaqin.inference.tagger import Article, Tag, Tagger, softmax

SENTENCES = [
    "أعلنت بلدية الميناء بدء توسعة الرصيف.",
    "وقال المتعهد إن الأشغال تستمر عاما.",
    "قد يرتفع سعر الخبز.",
    "يتردد في السوق أن المخبز سيغلق أبوابه نهاية الشهر بسبب شح الدقيق.",
    "لا.",
]


@pytest.fixture(scope="module")
def written(repository: Path) -> list[str]:
    lines = (repository / "seeds" / "written-test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def same(first: list[Tag], second: list[Tag]) -> bool:
    """Compare tags, and probabilities to the precision of float32."""
    numbers = [[(*t.probabilities.values(), t.claim_probability) for t in tags] for tags in (first, second)]
    words = [[(t.tag, t.uncertain, t.truncated) for t in tags] for tags in (first, second)]
    return words[0] == words[1] and bool(np.allclose(*numbers, atol=2e-5))


def test_a_bare_string_is_a_type_error(tiny: Tagger) -> None:
    with pytest.raises(TypeError, match=r"expected a list of sentences, found one string: tagger\.tag\(\[\"…\"\]\)"):
        tiny.tag(SENTENCES[0])
    with pytest.raises(TypeError, match="expected a list of sentences, found one string"):
        tiny.tag(SENTENCES, SENTENCES[0])


def test_previous_sentences_are_as_many(tiny: Tagger) -> None:
    with pytest.raises(ValueError, match="expected 5 previous sentences, found 1"):
        tiny.tag(SENTENCES, [None])


def test_no_sentence_gives_no_tag(tiny: Tagger) -> None:
    assert tiny.tag([]) == []
    assert list(tiny.tag_articles([])) == []


def test_a_tag_is_the_most_probable_class_and_probabilities_sum_to_one(tiny: Tagger, written: list[str]) -> None:
    tags = tiny.tag(written)
    for tag in tags:
        assert list(tag.probabilities) == list(LABELS)
        assert sum(tag.probabilities.values()) == pytest.approx(1, abs=3e-6)
        assert 0 <= tag.claim_probability <= 1
        if tag.claim_probability >= tiny.checkpoint.info.claim_threshold:
            assert tag.tag == max(tag.probabilities, key=tag.probabilities.__getitem__)
        else:
            assert tag.tag is None
    assert len({tag.tag for tag in tags}) >= 4  # or the tests below could not fail


def test_order_is_kept_and_batches_do_not_matter(
    tiny: Tagger, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = tiny.tag(written)
    order = random.Random(3).sample(range(len(written)), len(written))
    shuffled = tiny.tag([written[i] for i in order])
    assert same(shuffled, [tags[i] for i in order])
    assert same([tiny.tag([sentence])[0] for sentence in written[:20]], tags[:20])
    for name, value in (("TOKEN_BUDGET", 1), ("TOKEN_BUDGET", 10_000), ("WINDOW", 7)):
        monkeypatch.setattr(tagger_module, name, value)
        assert same(tiny.tag(written), tags)


def test_the_same_input_gives_the_same_bytes(tiny: Tagger, tiny_packed: Path, written: list[str]) -> None:
    assert tiny.tag(written) == tiny.tag(written) == Tagger.load(tiny_packed, threads=1).tag(written)


def test_the_sentence_before_is_read(tiny: Tagger) -> None:
    alone, after = tiny.tag([SENTENCES[1]] * 2, [None, SENTENCES[3]])
    assert alone.probabilities != after.probabilities
    assert same([alone], tiny.tag([SENTENCES[1]]))


def test_an_article_is_its_title_and_its_sentences(tiny: Tagger) -> None:
    title, text = "  عنوان الخبر \n", "\n".join(SENTENCES)
    (tagged,) = tiny.tag_articles([Article("a", text, title, "صحيفة", "2024-05-01")])
    assert [(s.sentence_index, s.field, s.text) for s in tagged.sentences] == [
        (0, "title", "عنوان الخبر"),
        *((i, "text", sentence) for i, sentence in enumerate(SENTENCES, 1)),
    ]
    assert {(s.article_id, s.outlet, s.date, s.stage, s.evidence) for s in tagged.sentences} == {
        ("a", "صحيفة", "2024-05-01", "full", ())
    }
    before = ["عنوان الخبر", *SENTENCES[:-1]]
    assert same(tagged.sentences, tiny.tag(["عنوان الخبر", *SENTENCES], [None, *before]))


def test_an_article_does_not_see_its_neighbours(tiny: Tagger) -> None:
    articles = [Article(str(i), sentence) for i, sentence in enumerate(SENTENCES)]
    tagged = list(tiny.tag_articles(articles))
    assert [t.article for t in tagged] == articles
    assert same([t.sentences[0] for t in tagged], tiny.tag(SENTENCES))


def test_articles_stream(tiny: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagger_module, "WINDOW", 10)
    taken = 0

    def articles() -> Iterator[Article]:
        nonlocal taken
        for taken in range(1, 1000):
            yield Article(str(taken), "خبر. " * 3)

    stream = tiny.tag_articles(articles())
    first = [next(stream) for _ in range(6)]
    assert [t.article.id for t in first] == ["1", "2", "3", "4", "5", "6"]
    assert taken <= 12


def test_offsets_point_into_the_original(tiny: Tagger, hostile: str) -> None:
    title, text = f" {hostile}", f"{hostile}\n\n{SENTENCES[0]} {hostile}"
    (tagged,) = tiny.tag_articles([Article("a", text, title)])
    assert len(tagged.sentences) >= 2
    for s in tagged.sentences:
        assert {"title": title, "text": text}[s.field][s.start : s.end] == s.text


def test_a_sentence_stands_as_it_is(tiny: Tagger, hostile: str) -> None:
    article = Article("a", hostile, previous=SENTENCES[0])
    (tagged,) = tiny.tag_articles([article], as_sentences=True)
    (sentence,) = tagged.sentences
    assert (sentence.field, sentence.start, sentence.end, sentence.text) == ("text", 0, len(hostile), hostile)
    assert same([sentence], tiny.tag([hostile], [SENTENCES[0]]))


def test_without_an_arabic_letter_there_is_no_tag(tiny: Tagger) -> None:
    tags = tiny.tag(["Prices rose.", "2024", "؟!", "😀", "\u064b\u0640", "١٢٣", "Prices ارتفعت."])
    assert [tag.tag for tag in tags[:-1]] == [None] * 6
    assert sum(tags[0].probabilities.values()) == pytest.approx(1, abs=3e-6)


def test_truncated_says_that_the_model_could_not_read_all(tiny: Tagger) -> None:
    short, long = tiny.tag(["خبر قصير.", "كلمة " * 10_000])
    assert (short.truncated, long.truncated) == (False, True)


def test_a_long_sentence_before_truncates_nothing(tiny: Tagger) -> None:
    assert not tiny.tag(["خبر قصير."], ["كلمة " * 10_000])[0].truncated


@pytest.mark.parametrize("fraction", [0.0, 0.2, 1.0])
def test_withhold_marks_those_below_the_quantile(tiny_packed: Path, written: list[str], fraction: float) -> None:
    tagger = Tagger.load(tiny_packed, withhold=fraction, threads=1)
    limit = tagger.checkpoint.info.withheld_below(fraction) if fraction else 0.0
    tags = tagger.tag(written)
    assert [tag.uncertain for tag in tags] == [max(tag.probabilities.values()) < limit for tag in tags]
    assert any(tag.uncertain for tag in tags) == (fraction > 0)


def test_progress_is_told_of_every_sentence(tiny_packed: Path, written: list[str]) -> None:
    tagger = Tagger.load(tiny_packed, threads=1)
    told: list[int] = []
    tagger.on_batch = told.append
    tagger.tag(written)
    assert sum(told) == len(written)
    assert len(told) > 1


def test_softmax_does_not_overflow() -> None:
    assert softmax(np.array([[1e4, 0, -1e4, 0]], np.float32)).tolist() == [[1, 0, 0, 0]]


def test_the_packaged_checkpoint_tags() -> None:
    tagger = Tagger.load()
    plain, hedged, rumour, nothing = tagger.tag(
        ["قال وزير النقل إن القطار سيعود الأحد.", "ربما يعود القطار الأحد.", "شائعات عن عودة القطار الأحد.", "Sunday."]
    )
    assert (plain.tag, hedged.tag, nothing.tag) == ("attributed", "hedged", None)
    assert rumour.tag in LABELS


def test_the_packaged_checkpoint_reads_the_seed_article_as_people_do() -> None:
    article_id, title, text = seed_article()
    (article,) = Tagger.load().tag_articles([Article(article_id, text, title)])
    lines = files("yaqin.seeds").joinpath("article", "gold.jsonl").read_text(encoding="utf-8").splitlines()
    gold = {row["sentence_index"]: row for row in map(json.loads, lines)}
    assert [s.text for s in article.sentences] == [gold[i]["text"] for i in range(len(gold))]
    scored = [s for s in article.sentences if gold[s.sentence_index]["confidence"] > 1]  # one label is arguable
    assert len(scored) == 14
    assert sum(s.tag == gold[s.sentence_index]["label"] for s in scored) >= 13


@pytest.mark.parametrize("sentences", [b"abc", ["نص", None], [7]])
def test_what_is_no_list_of_strings_is_refused(tiny_packed: Path, sentences: Any) -> None:
    with pytest.raises(TypeError, match=r"expected (a list of sentences|strings as sentences)"):
        Tagger.load(tiny_packed).tag(sentences)
