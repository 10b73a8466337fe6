import json
import re
from pathlib import Path

import pytest

from yaqin.inference.checkpoint import LABELS
from yaqin.training.baselines import (
    LEXICON_FILE,
    CueLexicon,
    Majority,
    Tfidf,
    compare,
    cross_validate_by_document,
)
from yaqin.training.data import LabelledRow, read_rows


def row(text: str, label: str = "confirmed", document: str = "") -> LabelledRow:
    return LabelledRow.model_validate({"text": text, "label": label, "document": document})


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("افتتحت البلدية حديقة جديدة في وسط المدينة.", "confirmed"),
        ("قالت الوزيرة إن الجسر سيغلق أسبوعين.", "attributed"),
        ("وأضاف الطبيب أن حالة المصاب مستقرة.", "attributed"),
        ("الأسعار ارتفعت بحسب تجار السوق.", "attributed"),
        ("ربما تتأخر الرحلة إلى المساء.", "hedged"),
        ("وقد يؤدي السيل إلى قطع الطريق.", "hedged"),
        ("لم يتسنَّ التأكد من هوية السائق.", "unverified"),
        ("تداول ناشطون صورا لحريق في الميناء.", "unverified"),
    ],
)
def test_the_lexicon_knows_the_cues_of_each_class(text: str, label: str) -> None:
    assert CueLexicon().predict([row(text)]) == [label]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("قال الخبير إن المحصول قد يتلف.", "hedged"),
        ("قال الحارس إن هناك شائعات عن بيع النادي.", "unverified"),
        ("ربما زعم البائع ذلك.", "unverified"),
        ("نفى رئيس النادي ما تردد من شائعات عن بيع اللاعب.", "attributed"),
    ],
)
def test_the_weakest_link_decides_and_a_denied_rumour_has_a_source(text: str, label: str) -> None:
    assert CueLexicon().predict([row(text)]) == [label]


@pytest.mark.parametrize(
    "text", ["قد تم إصلاح المصعد.", "وصلت القافلة في المقال الأول.", "أعلنت عن حفلها الجديد فرقة المسرح."]
)
def test_look_alikes_are_no_cues(text: str) -> None:
    assert CueLexicon().predict([row(text)]) == ["confirmed"]


def test_spelling_diacritics_and_prefixes_do_not_hide_a_cue() -> None:
    spellings = ["وأكّدَ الشاهد ذلك", "فاكد الشاهد ذلك", "أكـــد الشاهد ذلك"]
    assert CueLexicon().predict([row(text) for text in spellings]) == ["attributed"] * 3


def test_the_lexicon_reads_a_long_line_of_one_word_in_no_time() -> None:
    assert CueLexicon().predict([row("نفى " * 20_000)]) == ["attributed"]


def test_every_entry_of_the_lexicon_is_words_and_stands_once_in_its_rule() -> None:
    content = json.loads(LEXICON_FILE.read_text(encoding="utf-8"))
    for rule in content["rules"]:
        assert rule["label"] in LABELS
        assert len(set(rule["entries"])) == len(rule["entries"])
    for entry in content["masked"] + [entry for rule in content["rules"] for entry in rule["entries"]]:
        assert re.fullmatch(r"[\u0621-\u064a*… ]+|:", entry), entry


def test_majority_takes_the_commonest_class_and_passes_over_rows_without_a_claim() -> None:
    rows = [row("جملة", "hedged")] * 2 + [row("جملة", "confirmed")] + [row("سؤال", "none")] * 5
    assert Majority().fit(rows).predict(rows[:3]) == ["hedged"] * 3


def test_tfidf_learns_words_that_tell_classes_apart() -> None:
    words = dict(zip(LABELS, ["وقع", "صرح", "ربما", "إشاعة"], strict=True))
    places = ["في السوق", "عند الجسر", "قرب الميناء", "خلف المدرسة"]
    train = [row(f"{word} حادث {place}", label) for label, word in words.items() for place in places]
    held_back = [row(f"{word} أمر أمام المسجد", label) for label, word in words.items()]
    assert Tfidf().fit(train).predict(held_back) == list(LABELS)


def test_without_training_rows_the_learning_baselines_are_left_out() -> None:
    rows = [row("قال أحمد نعم", "attributed"), row("هطل المطر"), row("أين؟", "none")]
    assert set(compare(rows, None)) == {"lexicon"}
    scores = compare(rows, rows * 2)
    assert set(scores) == {"majority", "lexicon", "tfidf"}
    assert scores["lexicon"].n_claims == 2


def test_cross_validation_keeps_documents_whole() -> None:
    """Each document repeats one sentence under one label: only leakage between folds could guess it."""
    words = ["قمح", "جسر", "نهر", "كرة", "نجم", "ملح", "ثوب", "شعر", "سفن", "لوز", "درب", "حبر"]
    rows = [row(f"{word} {word}", LABELS[i % 4], document=word) for i, word in enumerate(words) for _ in range(4)]
    assert cross_validate_by_document(rows, 3) < 0.5
    scattered = [r.model_copy(update={"document": ""}) for r in rows]
    assert cross_validate_by_document(scattered, 3) > 0.9


def test_written_sentences_cannot_be_told_apart_by_their_words_alone(repository: Path) -> None:
    """A figure far above the one measured (see the data card) would mean templates."""
    files = [repository / "seeds" / name for name in ("written-train.jsonl", "written-test.jsonl")]
    assert cross_validate_by_document(read_rows(files), 5) < 0.75
