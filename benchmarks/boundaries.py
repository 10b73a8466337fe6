"""YAQIN_SHARED=../shared python benchmarks/boundaries.py

Compares sentence boundaries with those marked by reading in 100 articles, `seeds/boundaries.jsonl`: precision,
recall and F1 of our splitter and, where it is installed (`pip install spacy`), of spaCy's rule sentencizer.
The rules were written on the first half of the articles; the second half was not looked at before. A boundary
is right if it falls on the same character; the end of an article, always right, does not count.
"""

import gzip
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from yaqin.inference.errors import YaqinError
from yaqin.inference.sentences import split

GOLD = Path(__file__).parents[1] / "seeds" / "boundaries.jsonl"
Ends = Callable[[str], Iterable[int]]
Scores = tuple[float, float, float]


def load(shared: Path) -> list[dict[str, Any]]:
    """Read the marked articles, each with the text it was marked on, in the order of the marking."""
    articles = [json.loads(line) for line in GOLD.read_text(encoding="utf-8").splitlines()]
    corpus = shared / "corpus" / "news-2k.jsonl.gz"
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        texts = {row["id"]: row["text"] for row in map(json.loads, lines)}
    for article in articles:
        article["text"] = texts.get(article["id"], "")
        if hashlib.sha1(article["text"].encode()).hexdigest() != article["sha1"]:
            raise YaqinError(f"{corpus}: expected the text that was marked as {article['id']}, found another or none")
    return articles


def measure(ends: Ends, articles: Iterable[dict[str, Any]]) -> Scores:
    """Give precision, recall and F1 of the boundaries that `ends` finds in `articles`."""
    right = found = marked = 0
    for article in articles:
        final = len(article["text"].rstrip())
        ours, gold = set(ends(article["text"])) - {final}, set(article["ends"]) - {final}
        right, found, marked = right + len(ours & gold), found + len(ours), marked + len(gold)
    return right / max(found, 1), right / max(marked, 1), 2 * right / max(found + marked, 1)


def our_ends(text: str) -> list[int]:
    """Give where the sentences of `yaqin.inference.sentences.split` end."""
    return [end for _, end in split(text)]


def spacy_ends(punctuation: list[str] | None, *, by_line: bool = False) -> Ends:
    """Build spaCy's sentencizer; it knows no line breaks, so with `by_line` it is given one line at a time."""
    import spacy

    pipeline = spacy.blank("ar")
    pipeline.add_pipe("sentencizer", config={"punct_chars": punctuation})

    def ends(text: str) -> list[int]:
        found, start = [], 0
        for line in text.splitlines(keepends=True) if by_line else [text]:
            for sentence in pipeline(line).sents:
                found.append(start + sentence.start_char + len(sentence.text.rstrip()))
            start += len(line)
        return found

    return ends


def systems() -> dict[str, Ends]:
    """Name what is compared."""
    ours: dict[str, Ends] = {"yaqin": our_ends}
    try:
        signs = ["؟", "!", ".", "…"]
        return ours | {
            "spaCy sentencizer as it comes": spacy_ends(None),
            "spaCy sentencizer with ؟ ! . …": spacy_ends(signs),
            "the same, line by line": spacy_ends(signs, by_line=True),
        }
    except ImportError:
        print("spaCy is not installed: only our splitter is measured", file=sys.stderr)
        return ours


def main() -> None:
    if not (shared := os.environ.get("YAQIN_SHARED")):
        sys.exit("YAQIN_SHARED: expected the folder that holds corpus/news-2k.jsonl.gz, found nothing: set it")
    articles = load(Path(shared))
    parts = {"written on (0-49)": articles[:50], "unseen (50-99)": articles[50:], "all": articles}
    for outlet in sorted(Counter(article["outlet"] for article in articles)):
        parts[outlet] = [article for article in articles if article["outlet"] == outlet]
    for name, ends in systems().items():
        print(f"\n{name:32} precision  recall     F1")
        for part, chosen in parts.items():
            precision, recall, f1 = measure(ends, chosen)
            print(f"  {part:30} {precision:9.3f} {recall:7.3f} {f1:6.3f}")


if __name__ == "__main__":
    main()
