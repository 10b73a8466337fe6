"""The tagger: sentences in, tags out, in order; articles in, tagged sentences out, as a stream."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from yaqin.inference.checkpoint import Checkpoint, Precision
from yaqin.inference.engines import Batch, EngineName, Floats, open_engine
from yaqin.inference.inputs import Input
from yaqin.inference.sentences import split
from yaqin.inference.text import has_arabic

WINDOW = 4096
"""Sentences sorted by length together: enough to leave almost no padding, few enough for constant memory."""
TOKEN_BUDGET = 512
"""Pieces in a batch, padding included; larger batches are slower on a CPU."""


@dataclass(frozen=True)
class Article:
    """One article, or with `--sentences` one sentence, as it was read.

    Attributes:
        id: Its id.
        text: Body.
        title: Headline, if it has one.
        outlet: Who published it.
        date: When, as the input has it.
        previous: With `--sentences`: the sentence before.
        extra: Further fields, passed through untouched.
    """

    id: str
    text: str
    title: str | None = None
    outlet: str | None = None
    date: str | None = None
    previous: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tag:
    """How a sentence presents its claim. The fields are those of the design's record."""

    tag: str | None
    probabilities: dict[str, float]
    claim_probability: float
    uncertain: bool
    truncated: bool
    evidence: tuple[dict[str, Any], ...] = ()
    stage: str = "full"


@dataclass(frozen=True)
class TaggedSentence(Tag):
    """A tag with the place of its sentence: offsets are code points of the original `field`."""

    article_id: str = ""
    sentence_index: int = 0
    outlet: str | None = None
    date: str | None = None
    field: str = "text"
    start: int = 0
    end: int = 0
    text: str = ""


@dataclass(frozen=True)
class TaggedArticle:
    """An article with its sentences in order."""

    article: Article
    sentences: list[TaggedSentence]


@dataclass(frozen=True)
class _Place:
    field: str
    start: int
    end: int
    text: str


class Tagger:
    """Tags sentences and articles with one checkpoint.

    The same input in the same order gives the same bytes on the same kind of CPU: batches depend on
    nothing else.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        engine: EngineName = "onnx",
        precision: Precision | None = None,
        threads: int = 0,
        withhold: float = 0.0,
    ) -> None:
        self.checkpoint = checkpoint
        self.on_batch: Callable[[int], None] | None = None  # told the number of sentences of each finished batch
        self._inputs = checkpoint.input_encoder()
        self._pad_id = checkpoint.pad_id
        self._uncertain_below = checkpoint.info.withheld_below(withhold) if withhold else 0.0
        self._engine = open_engine(checkpoint, engine, precision, threads=threads)

    @classmethod
    def load(cls, checkpoint: str | Path | None = None, **options: Any) -> "Tagger":
        """Open the packaged checkpoint, one of that name, or a folder.

        Raises:
            YaqinError: It cannot be found or does not fit this yaqin.
        """
        return cls(Checkpoint.find(checkpoint), **options)

    def tag(self, sentences: Sequence[str], previous: Sequence[str | None] | None = None) -> list[Tag]:
        """Tag sentences as they stand, in their order.

        Args:
            sentences: One sentence or headline each.
            previous: The sentences before, for checkpoints that read them; as many as `sentences`.

        Raises:
            TypeError: `sentences` is a single string.
            ValueError: `previous` has another length.
        """
        if isinstance(sentences, str | bytes) or isinstance(previous, str | bytes):
            raise TypeError('expected a list of sentences, found one string: tagger.tag(["…"])')
        if wrong := [type(sentence).__name__ for sentence in sentences if not isinstance(sentence, str)]:
            raise TypeError(f"expected strings as sentences, found {wrong[0]}")
        if previous is not None and len(previous) != len(sentences):
            raise ValueError(f"expected {len(sentences)} previous sentences, found {len(previous)}")
        tags: list[Tag] = []
        for start in range(0, len(sentences), WINDOW):
            stop = start + WINDOW
            inputs = self._inputs.encode(sentences[start:stop], previous[start:stop] if previous else None)
            logits, claims = self.logits(inputs)
            tags += self._decide(sentences[start:stop], inputs, logits, claims)
        return tags

    def tag_articles(self, articles: Iterable[Article], *, as_sentences: bool = False) -> Iterator[TaggedArticle]:
        """Tag a stream of articles in constant memory.

        Args:
            articles: In any number; the output has their order.
            as_sentences: Take each article's text as one sentence.
        """
        stream = iter(articles)
        while window := list(_window(stream, as_sentences)):
            places = [place for _, found in window for place in found]
            previous = [before for article, found in window for before in _previous(article, found)]
            tags = iter(self.tag([place.text for place in places], previous))
            for article, found in window:
                sentences = [
                    TaggedSentence(
                        **vars(next(tags)),
                        article_id=article.id,
                        sentence_index=index,
                        outlet=article.outlet,
                        date=article.date,
                        **vars(place),
                    )
                    for index, place in enumerate(found)
                ]
                yield TaggedArticle(article, sentences)

    def logits(self, inputs: Sequence[Input]) -> tuple[Floats, Floats]:
        """Run the engine in length-sorted batches. *Shape:* ``(n, 4)``, ``(n,)``, in the order of `inputs`."""
        order = sorted(range(len(inputs)), key=lambda i: -len(inputs[i].ids))
        logits = np.zeros((len(inputs), len(self.checkpoint.info.labels)), np.float32)
        claims = np.zeros(len(inputs), np.float32)
        start = 0
        while start < len(order):
            rows = order[start : start + max(1, TOKEN_BUDGET // len(inputs[order[start]].ids))]
            logits[rows], claims[rows] = self._engine.run(Batch.pad([inputs[i] for i in rows], self._pad_id))
            start += len(rows)
            if self.on_batch:
                self.on_batch(len(rows))
        return logits, claims

    def _decide(self, sentences: Sequence[str], inputs: Sequence[Input], logits: Floats, claims: Floats) -> list[Tag]:
        info = self.checkpoint.info
        probabilities = softmax(logits / info.temperature)
        claim_probabilities = 1 / (1 + np.exp(-claims.astype(np.float64)))
        return [
            Tag(
                tag=info.labels[row.argmax()] if claim >= info.claim_threshold and has_arabic(sentence) else None,
                probabilities=dict(zip(info.labels, row.tolist(), strict=True)),
                claim_probability=float(claim),
                uncertain=bool(row.max() < self._uncertain_below),
                truncated=item.truncated,
            )
            for sentence, item, row, claim in zip(sentences, inputs, probabilities, claim_probabilities, strict=True)
        ]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities, in float64 and rounded to 6 places. *Shape:* ``(n, 4)`` both."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: np.ndarray = (exponentials / exponentials.sum(axis=1, keepdims=True)).round(6)
    return result


def _window(stream: Iterator[Article], as_sentences: bool) -> Iterator[tuple[Article, list[_Place]]]:
    """Take articles off the stream until their sentences fill a window."""
    n_sentences = 0
    while n_sentences < WINDOW and (article := next(stream, None)):
        found = [_Place("text", 0, len(article.text), article.text)] if as_sentences else list(_places(article))
        n_sentences += len(found)
        yield article, found


def _places(article: Article) -> Iterator[_Place]:
    """Find the sentences of an article: the trimmed title as one, then those of the text."""
    title = article.title or ""
    if title.strip():
        start, end = len(title) - len(title.lstrip()), len(title.rstrip())
        yield _Place("title", start, end, title[start:end])
    for start, end in split(article.text):
        yield _Place("text", start, end, article.text[start:end])


def _previous(article: Article, found: Sequence[_Place]) -> list[str | None]:
    """Give the sentence before each one within the article."""
    return [article.previous, *(place.text for place in islice(found, max(len(found) - 1, 0)))][: len(found)]
