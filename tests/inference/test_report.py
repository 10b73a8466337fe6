"""The page shows every sentence in its order, runs nothing and fetches nothing, whatever the corpus holds."""

import base64
import hashlib
import json
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from yaqin.inference import report
from yaqin.inference.checkpoint import LABELS
from yaqin.inference.errors import YaqinError
from yaqin.inference.report import read_tagged, render, seed_article, write_report

SENTENCE = "قال مدير المرفأ إن الرافعة الجديدة ستعمل غدا."
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;\u202eقلب\u2066\x00\ud800 $tag </style>"
VOID = {"meta", "link", "br", "img"}


def sentence(**changes: Any) -> dict[str, Any]:
    """Make a tagged sentence as the design fixes it."""
    record = {
        "article_id": "a",
        "sentence_index": 1,
        "outlet": None,
        "date": None,
        "field": "text",
        "start": 0,
        "end": len(SENTENCE),
        "text": SENTENCE,
        "tag": "attributed",
        "probabilities": {"confirmed": 0.05, "attributed": 0.9, "hedged": 0.03, "unverified": 0.02},
        "claim_probability": 0.97,
        "uncertain": False,
        "truncated": False,
        "evidence": [],
        "stage": "full",
    }
    return record | changes


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text of each sentence."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.marked: list[tuple[str, str]] = []
        self._marks: list[str] = []
        self._in_text: int | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if attributes.get("class") == "text":
            self.texts.append("")
            self._in_text = len(self.open)
        if tag == "mark":
            self._marks.append(attributes["class"] or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        if self._in_text == len(self.open):
            self._in_text = None
        self.open.pop()
        if tag == "mark":
            self._marks.pop()

    def handle_data(self, data: str) -> None:
        if self._in_text is not None:
            self.texts[-1] += data
            self.marked += [(mark, data) for mark in self._marks]

    def classes(self, element: str) -> list[str]:
        return [attributes.get("class") or "" for tag, attributes in self.elements if tag == element]


def page(*records: dict[str, Any], title: str = "صفحة", checkpoint: str = "default") -> Page:
    return Page(render(records, title=title, checkpoint=checkpoint))


def everywhere_hostile() -> list[dict[str, Any]]:
    evidence = [{"type": "source", "start": 0, "end": 9, "text": HOSTILE, "signal": HOSTILE, "kind": HOSTILE}]
    fields = dict.fromkeys(("article_id", "outlet", "date", "stage"), HOSTILE)
    return [
        sentence(**fields, field="title", text=HOSTILE, evidence=evidence),
        sentence(**fields, text=HOSTILE, evidence=evidence, uncertain=True, truncated=True),
        sentence(article_id=HOSTILE + "2", text=HOSTILE),
    ]


def test_the_page_is_right_to_left_and_well_formed() -> None:
    found = page(sentence())
    assert ("html", {"lang": "ar", "dir": "rtl"}) in found.elements
    assert found.open == []


def test_hostile_text_in_any_field_adds_no_element_and_no_handler() -> None:
    hostile = page(*everywhere_hostile(), title=HOSTILE, checkpoint=HOSTILE)
    assert hostile.open == []
    assert not {"script", "img", "link", "iframe", "base", "form"} & {tag for tag, _ in hostile.elements}
    assert not [name for _, attributes in hostile.elements for name in attributes if name.startswith("on")]


def test_hostile_text_stays_readable() -> None:
    shown = "".join(page(sentence(text=HOSTILE)).texts)
    expected = HOSTILE
    for character in "\u202e\u2066\x00\ud800":
        expected = expected.replace(character, f"⟦U+{ord(character):04X}⟧")
    assert shown == expected


@pytest.mark.parametrize(
    "character", ["\x00", "\x1b", "\x85", "\u061c", "\u200f", "\u202e", "\u2069", "\ud83d", "\udfff"]
)
def test_invisible_characters_become_visible_in_every_field(character: str) -> None:
    html = render(
        [sentence(text=character, article_id=character, outlet=character, date=character)],
        title=character,
        checkpoint=character,
    )
    assert character not in html
    assert html.count(f"⟦U+{ord(character):04X}⟧") == 7  # the window's title and the checkpoint among them
    html.encode("utf-8")


def test_joiners_and_diacritics_are_left_alone() -> None:
    text = "مي\u200cخواهم أنّ العددَ ١٢٣ 🎣"
    assert page(sentence(text=text)).texts == [text]


def test_nothing_is_fetched() -> None:
    html = render(everywhere_hostile(), title=HOSTILE, checkpoint="https://model.example/x")
    for tag, attributes in Page(html).elements:
        assert "src" not in attributes and "style" not in attributes, tag
        assert (attributes.get("href") or "#").startswith("#"), tag
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style and not re.search(r"url\(|@import|@font-face|expression", style[1])


def test_the_content_security_policy_allows_exactly_the_inline_style() -> None:
    html = render([sentence()], title="صفحة", checkpoint="default")
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert style and policy
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1].startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "unsafe" not in policy[1] and "script" not in policy[1]


def test_sentences_and_articles_stand_in_their_order() -> None:
    records = [sentence(article_id=article, text=f"{article}{i}") for article in "ba" for i in range(12)]
    found = page(*records)
    assert found.texts == [record["text"] for record in records]
    assert [a["id"] for tag, a in found.elements if tag == "article"] == ["a1", "a2"]
    assert [a["href"] for tag, a in found.elements if tag == "a"] == ["#a1", "#a2"]


@pytest.mark.parametrize("tag", [*LABELS, None])
def test_each_tag_has_its_class_its_shape_and_its_word(tag: str | None) -> None:
    html = render([sentence(tag=tag)], title="صفحة", checkpoint="default")
    row = html[html.index('<div class="sentence') :]
    assert row.startswith(f'<div class="sentence {tag or "none"}">')
    assert f'<use href="#{tag or "none"}"/>' in row
    assert report._NAMES[tag or "none"] in row
    assert f'<symbol id="{tag or "none"}"' in html


def test_a_null_tag_shows_no_probability_of_a_class_as_its_own() -> None:
    row = render([sentence(tag=None)], title="", checkpoint="").split('<div class="sentence')[1]
    assert '<bdi dir="ltr"></bdi>' in row
    assert page(sentence(tag=None, probabilities=None, claim_probability=None)).texts == [SENTENCE]


def test_probabilities_never_read_as_certainty() -> None:
    sure = {"confirmed": 0.0, "attributed": 0.9996, "hedged": 0.0004, "unverified": 0.0}
    html = render([sentence(probabilities=sure)], title="", checkpoint="")
    assert '<bdi dir="ltr">99%</bdi>' in html


def test_flags_are_shown_only_where_set() -> None:
    plain = render([sentence()], title="", checkpoint="")
    flagged = render([sentence(uncertain=True, truncated=True)], title="", checkpoint="")
    assert not re.search(r"<i title=", plain)
    assert re.findall(r'<i title="(\w+)"', flagged) == ["uncertain", "truncated"]


def test_evidence_is_marked_by_offsets_into_the_field() -> None:
    start = 1000
    source, cue = SENTENCE.index("مدير المرفأ"), SENTENCE.index("قال")
    evidence = [
        {
            "type": "source",
            "start": start + source,
            "end": start + source + 11,
            "signal": None,
            "kind": "person",
        },
        {"type": "cue", "start": start + cue, "end": start + cue + 3, "signal": "attributed", "kind": None},
    ]
    found = page(sentence(start=start, end=start + len(SENTENCE), evidence=evidence))
    assert found.texts == [SENTENCE]
    assert found.marked == [("cue attributed", "قال"), ("source", "مدير المرفأ")]


def test_overlapping_and_outlying_evidence_loses_no_character() -> None:
    evidence = [
        {"type": "cue", "start": 2, "end": 8, "signal": "hedged"},
        {"type": "source", "start": 5, "end": 10_000},
        {"type": "source", "start": -7, "end": -3},
        {"type": "source", "start": -9, "end": -5},
        {"type": "cue", "start": 9, "end": 9},
    ]
    found = page(sentence(evidence=evidence))
    assert found.texts == [SENTENCE]
    assert "".join(data for mark, data in found.marked if mark == "cue hedged") == SENTENCE[2:8]
    assert "".join(data for mark, data in found.marked if mark == "source") == SENTENCE[5:]


def test_the_bar_begins_at_the_right_and_fills_the_width() -> None:
    tags = ["unverified", "confirmed", None, "confirmed"]
    found = page(*(sentence(tag=tag) for tag in tags))
    bars = [
        (a["class"], float(a["x"] or "nan"), float(a["width"] or "nan")) for tag, a in found.elements if tag == "rect"
    ]
    assert bars == [("confirmed", 50, 50), ("unverified", 25, 25), ("none", 0, 25)]


def test_more_articles_than_the_page_holds_are_announced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(report, "MAX_ARTICLES", 2)
    with caplog.at_level(logging.WARNING):
        html = render((sentence(article_id=str(i)) for i in range(3)), title="", checkpoint="")
    assert html.count("<article") == 2
    assert '<p class="note">' in html
    assert "first 2 articles" in caplog.text
    assert '<p class="note" hidden>' in render((sentence(article_id=str(i)) for i in range(2)), title="", checkpoint="")


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_report(everywhere_hostile(), path, title=HOSTILE, checkpoint=HOSTILE)
    assert path.read_text(encoding="utf-8") == render(everywhere_hostile(), title=HOSTILE, checkpoint=HOSTILE)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    (tmp_path / "folder").mkdir()
    for wrong in (tmp_path / "folder", tmp_path / "none" / "page.html"):
        with pytest.raises(YaqinError, match="expected a place to write the page"):
            write_report([sentence()], wrong, title="", checkpoint="")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "page.html"]


def test_an_output_folder_is_read_part_by_part(tmp_path: Path) -> None:
    for part in (1, 0):
        folder = tmp_path / f"part-{part:05}"
        folder.mkdir()
        line = json.dumps(sentence(article_id=f"{part} \ud800"))
        (folder / "tagged.jsonl").write_text(f"{line}\n\n", encoding="utf-8")
    assert [record["article_id"] for record in read_tagged(tmp_path)] == ["0 \ud800", "1 \ud800"]
    assert next(read_tagged(tmp_path / "part-00001" / "tagged.jsonl")) == sentence(article_id="1 \ud800")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "expected tagged sentences, found none"),
        (b"\n \n", "expected tagged sentences, found none"),
        (b"{", ":1: expected JSON"),
        (b'{"text": "\xff"}', ":1: expected JSON"),
        (b"[1]", ":1: expected a tagged sentence .* found JSON that is no object"),
        (b'{"id": "a", "text": "x"}', ":1: .* found no article_id, field, start, tag"),
        (json.dumps(sentence(tag="certain")).encode(), ":1: .* found the tag 'certain'"),
        (json.dumps(sentence(text=None)).encode(), ":1: .* a text that is no string"),
        (json.dumps(sentence(probabilities={"confirmed": "x"})).encode(), ":1: .* the probabilities"),
        (json.dumps(sentence(evidence=[{"type": "cue"}])).encode(), ":1: .* the evidence"),
        (json.dumps(sentence(evidence=[7])).encode(), ":1: .* the evidence"),
    ],
)
def test_what_is_no_tagged_sentence_is_named_with_file_and_line(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "tagged.jsonl"
    path.write_bytes(line)
    with pytest.raises(YaqinError, match=f"tagged.jsonl.*{message}"):
        list(read_tagged(path))


def test_a_missing_path_and_a_folder_without_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(YaqinError, match=r"none: expected an output folder .* found nothing"):
        list(read_tagged(tmp_path / "none"))
    with pytest.raises(YaqinError, match=r"expected part-\*/tagged\.jsonl in it, found none"):
        list(read_tagged(tmp_path))


def test_the_seed_article_holds_every_sentence_of_its_gold_labels() -> None:
    article_id, title, text = seed_article()
    assert article_id == "000_af954e7e27d2101d.txt"
    folder = Path(report.__file__).parents[1] / "seeds" / "article"
    gold = [json.loads(line) for line in (folder / "gold.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [title, *text.split("\n")] == [row["text"] for row in gold]


def test_a_page_of_the_seed_article_shows_it_whole() -> None:
    article_id, title, text = seed_article()
    lines = [title, *text.split("\n")]
    records = [
        sentence(article_id=article_id, field="text" if i else "title", text=line, tag=LABELS[i % 4])
        for i, line in enumerate(lines)
    ]
    found = page(*records)
    assert found.texts == lines
    assert found.classes("h2") == ["text"]
