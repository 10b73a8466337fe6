"""The page: tagged articles as one right-to-left HTML file that runs no script and fetches nothing."""

import base64
import hashlib
import html
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby, islice, pairwise
from pathlib import Path
from string import Template
from typing import Any

from yaqin.inference.checkpoint import LABELS, NO_CLAIM
from yaqin.inference.errors import YaqinError

MAX_ARTICLES = 2_000
"""A page shows at most so many articles: about 50,000 sentences, which a browser still opens."""
SEED_ARTICLE = "000_af954e7e27d2101d.txt"

_log = logging.getLogger(__name__)
_Record = Mapping[str, Any]  # a tagged sentence as the design fixes it
_OPEN_LIST = 12  # a longer list of articles starts folded
_LINK_LENGTH = 120  # characters of a headline in the list of articles

# Controls and bidi controls hide or reorder what stands beside them (CVE-2021-42574), and lone surrogates
# have no UTF-8. Joiners stay: Arabic script needs them.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_NAMES = {
    "confirmed": "مؤكَّد",
    "attributed": "منسوب",
    "hedged": "محتمل",
    "unverified": "غير مُثبَت",
    NO_CLAIM: "بلا خبر",
    "uncertain": "غير متيقَّن",
    "truncated": "مقتطعة",
    "cue": "دليل",
    "source": "مصدر",
}
_ORDER = (*LABELS, NO_CLAIM)
_FLAGS, _EVIDENCE = ("uncertain", "truncated"), ("cue", "source")


def render(records: Iterable[Mapping[str, Any]], *, title: str, checkpoint: str) -> str:
    """Render one self-contained page that can be written as UTF-8, whatever the corpus holds.

    Args:
        records: Sentences as the design fixes them, those of one article together and in order.
        title: Heading of the page.
        checkpoint: Name of the checkpoint that tagged them.
    """
    groups = groupby(records, key=lambda record: record["article_id"])
    articles: list[str] = []
    entries: list[str] = []
    total: Counter[str] = Counter()
    for number, (_, group) in enumerate(islice(groups, MAX_ARTICLES), 1):
        article = _Article(number, list(group))
        articles.append(article.render())
        entries.append(article.entry())
        total += article.counts
    left_out = next(groups, None) is not None
    if left_out:
        _log.warning("the page shows the first %d articles only", MAX_ARTICLES)
    style = _template("report.css").template
    return _template("report.html").substitute(
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        window_title=_plain(title),
        title=_visible(title),
        overview=_overview(entries, total, left_out=left_out) if len(articles) > 1 else "",
        articles="".join(articles),
        checkpoint=_visible(checkpoint or "?"),
        **_NAMES,
    )


def write_report(records: Iterable[Mapping[str, Any]], path: Path, *, title: str, checkpoint: str) -> None:
    """Write the page beside `path`, then rename it, so that a half-written page never shows.

    Raises:
        YaqinError: `path` cannot be written.
    """
    page = render(records, title=title, checkpoint=checkpoint)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(page, encoding="utf-8", newline="\n")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise YaqinError(f"{path}: expected a place to write the page, found: {error.strerror}") from error


def read_tagged(path: Path) -> Iterator[dict[str, Any]]:
    """Read tagged sentences from an output folder (its parts in order) or from a JSON-lines file.

    Raises:
        YaqinError: Nothing is there, it is empty, or a line is no tagged sentence; names file and line.
    """
    n_records = 0
    for file in _tagged_files(path):
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _parse(line, f"{file}:{number}")
                    n_records += 1
    if not n_records:
        raise YaqinError(f"{path}: expected tagged sentences, found none: make some with 'yaqin tag'")


def seed_article() -> tuple[str, str, str]:
    """Give id, title and text of the packaged seed article."""
    content = files("yaqin.seeds").joinpath("article", SEED_ARTICLE).read_text(encoding="utf-8")
    title, _, text = content.partition("\n")
    return SEED_ARTICLE, title, text


@dataclass(frozen=True)
class _Article:
    """The tagged sentences of one article; `number` is its place on the page."""

    number: int
    sentences: list[_Record]

    @property
    def counts(self) -> Counter[str]:
        return Counter(record["tag"] or NO_CLAIM for record in self.sentences)

    @property
    def _has_title(self) -> bool:
        return bool(self.sentences[0]["field"] == "title")

    def entry(self) -> str:
        """Give the line of the list of articles."""
        name = str(self.sentences[0]["text" if self._has_title else "article_id"])
        if len(name) > _LINK_LENGTH:
            name = name[:_LINK_LENGTH] + "…"
        return f'<li><a href="#a{self.number}" dir="auto">{_visible(name)}</a>{_bar(self.counts)}</li>\n'

    def render(self) -> str:
        first = self.sentences[0]
        about = [first.get("outlet"), first.get("date"), first["article_id"] if self._has_title else None]
        return _template("article.html").substitute(
            number=self.number,
            meta=" · ".join(f'<bdi dir="auto">{_visible(part)}</bdi>' for part in about if part is not None),
            heading="" if self._has_title else f'<h2 dir="auto">{_visible(first["article_id"])}</h2>\n',
            sentences="".join(map(_sentence, self.sentences)),
            share=_share(self.counts) if len(self.sentences) > 1 else "",
        )


def _overview(entries: list[str], total: Counter[str], *, left_out: bool) -> str:
    return _template("overview.html").substitute(
        share=_share(total),
        open=" open" if len(entries) <= _OPEN_LIST else "",
        n_articles=f"{len(entries):,}",
        entries="".join(entries),
        hidden="" if left_out else " hidden",
    )


def _sentence(record: _Record) -> str:
    tag = record["tag"] or NO_CLAIM
    probabilities: Mapping[str, float] = record.get("probabilities") or {}
    details = [f"{_NAMES[k]} {k}: {probabilities[k]:.1%}" for k in LABELS if k in probabilities]
    if record.get("claim_probability") is not None:
        details.append(f"فيها خبر claim: {record['claim_probability']:.1%}")
    flags = [name for name in _FLAGS if record.get(name)]
    return _template("sentence.html").substitute(
        tag=tag,
        quiet=" uncertain" if "uncertain" in flags else "",
        details="&#10;".join(details),
        icon=_icon(tag),
        name=_NAMES[tag],
        gloss=record["tag"] or "no claim",
        # Whole percents read best, but none of them may read as certainty.
        probability=f"{min(probabilities[tag], 0.99):.0%}" if tag in probabilities else "",
        flags="".join(f'<i title="{name}">{_NAMES[name]}</i>' for name in flags),
        element="h2" if record["field"] == "title" else "p",
        text=_marked(record),
    )


def _marked(record: _Record) -> str:
    """Mark the evidence inside a sentence; spans may overlap, so the text is cut at every border."""
    text, start = record["text"], record["start"]
    spans = [(max(e["start"] - start, 0), min(e["end"] - start, len(text)), e) for e in record.get("evidence") or ()]
    borders = sorted({0, len(text)}.union(*((first, last) for first, last, _ in spans if first < last)))
    pieces = []
    for left, right in pairwise(borders):
        piece = _visible(text[left:right])
        for first, last, evidence in spans:
            if first <= left and right <= last:
                piece = _mark(piece, evidence)
        pieces.append(piece)
    return "".join(pieces)


def _mark(piece: str, evidence: _Record) -> str:
    detail = evidence.get("signal") or evidence.get("kind")
    title = _plain(f"{_NAMES[evidence['type']]} {evidence['type']}" + (f" ({detail})" if detail else ""))
    signal = f" {evidence['signal']}" if evidence.get("signal") in LABELS else ""
    return f'<mark class="{evidence["type"]}{signal}" title="{title}">{piece}</mark>'


def _bar(counts: Counter[str]) -> str:
    """Draw the share of each tag as one bar that begins at the right, as its readers do."""
    left, parts = 100.0, ""
    for tag in filter(counts.get, _ORDER):
        width = 100 * counts[tag] / counts.total()
        left -= width
        parts += f'<rect class="{tag}" x="{left:.2f}" y="0" width="{width:.2f}" height="8"/>'
    return f'<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">{parts}</svg>'


def _share(counts: Counter[str]) -> str:
    items = "".join(
        f'<li class="{tag}">{_icon(tag)}{_NAMES[tag]} <bdi dir="ltr">{counts[tag]:,}</bdi> '
        f'<bdi dir="ltr">({counts[tag] / counts.total():.0%})</bdi></li>'
        for tag in filter(counts.get, _ORDER)
    )
    return f'<div class="share">{_bar(counts)}<ul class="small">{items}</ul></div>'


def _icon(tag: str) -> str:
    return f'<svg class="icon" aria-hidden="true"><use href="#{tag}"/></svg>'


def _plain(text: object) -> str:
    """Escape for an attribute or the window's title, invisible characters by their code point."""
    return _INVISIBLE.sub(lambda found: f"⟦U+{ord(found[0]):04X}⟧", html.escape(str(text)))


def _visible(text: object) -> str:
    """Escape for the page, invisible characters as small chips."""
    chip = '<bdi class="control" dir="ltr">⟦U+{:04X}⟧</bdi>'
    return _INVISIBLE.sub(lambda found: chip.format(ord(found[0])), html.escape(str(text)))


@cache
def _template(name: str) -> Template:
    return Template(files("yaqin.inference").joinpath("templates", name).read_text(encoding="utf-8"))


def _tagged_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise YaqinError(f"{path}: expected an output folder or a file of 'yaqin tag', found nothing")
    parts = sorted(path.glob("part-*/tagged.jsonl"))
    if not parts:
        raise YaqinError(f"{path}: expected part-*/tagged.jsonl in it, found none: tag with --format jsonl")
    return parts


def _parse(line: bytes, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise YaqinError(f"{place}: expected JSON, found a line that does not parse ({error})") from error
    if problem := _problem(record):
        raise YaqinError(f"{place}: expected a tagged sentence of 'yaqin tag', found {problem}")
    return dict(record)


def _problem(record: Any) -> str | None:
    """Say what keeps `record` from being a tagged sentence."""
    if not isinstance(record, dict):
        return f"JSON that is no object ({type(record).__name__})"
    missing = [name for name in ("article_id", "field", "start", "text", "tag") if name not in record]
    if missing:
        return f"no {', '.join(missing)}"
    if record["tag"] not in (*LABELS, None):
        return f"the tag {record['tag']!r}"
    if not isinstance(record["text"], str) or not isinstance(record["start"], int):
        return "a text that is no string or a start that is no whole number"
    probabilities = record.get("probabilities") or {}
    if not isinstance(probabilities, dict) or {type(p) for p in probabilities.values()} - {int, float}:
        return f"the probabilities {probabilities!r}"
    for evidence in record.get("evidence") or ():
        known = isinstance(evidence, dict) and evidence.get("type") in _EVIDENCE
        if not known or not isinstance(evidence.get("start"), int) or not isinstance(evidence.get("end"), int):
            return f"the evidence {evidence!r}"
    return None
