"""Three baselines with one interface: what a tagger must beat to have earned its keep."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from threadpoolctl import threadpool_limits

from yaqin.inference.checkpoint import LABELS
from yaqin.inference.text import prepare
from yaqin.training.data import LabelledRow
from yaqin.training.scores import Classification, classify, cluster_indices, label_indices

LEXICON_FILE = Path(__file__).with_name("lexicon.json")
_FOLDED = str.maketrans("أإآىة", "ااايه")  # spellings that newspapers mix
_GAP = r"(?: \S+){0,5}?"


class Baseline(Protocol):
    """Learns from labelled rows, if it learns at all, and gives every row one of the four classes."""

    def fit(self, rows: Sequence[LabelledRow]) -> Self:
        """Learn from the rows that make a claim."""

    def predict(self, rows: Sequence[LabelledRow]) -> list[str]:
        """Give the class of each row."""


class Majority:
    """The commonest class of the training rows."""

    def fit(self, rows: Sequence[LabelledRow]) -> Self:
        """Count the classes."""
        self._label = Counter(row.label for row in _claims(rows)).most_common(1)[0][0]
        return self

    def predict(self, rows: Sequence[LabelledRow]) -> list[str]:
        """Give every row that class."""
        return [self._label] * len(rows)


class CueLexicon:
    """The cue words of the guideline, weakest link first; `lexicon.json` says how its entries are read."""

    def __init__(self) -> None:
        content = json.loads(LEXICON_FILE.read_text(encoding="utf-8"))
        self._masked = _pattern(content["masked"])
        self._rules = [(rule["label"], _pattern(rule["entries"])) for rule in content["rules"]]

    def fit(self, rows: Sequence[LabelledRow]) -> Self:
        """Learn nothing: the words were written down beforehand."""
        return self

    def predict(self, rows: Sequence[LabelledRow]) -> list[str]:
        """Give each row the class of the first rule that finds a cue, or `confirmed`."""
        texts = [self._masked.sub("_", prepare(row.text).translate(_FOLDED)) for row in rows]
        return [next((label for label, cue in self._rules if cue.search(text)), LABELS[0]) for text in texts]


class Tfidf:
    """Logistic regression over TF-IDF of words, pairs of words and character n-grams."""

    def __init__(self) -> None:
        shared = {"preprocessor": prepare, "sublinear_tf": True, "min_df": 2, "dtype": np.float32}
        words = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), **shared)
        pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **shared)
        # C was chosen on a held-back third of the news training articles: 1, 5, 20 gave 0.681, 0.685, 0.682
        classifier = LogisticRegression(C=5, class_weight="balanced", max_iter=1000)
        self._pipeline: Pipeline = make_pipeline(make_union(words, pieces), classifier)

    def fit(self, rows: Sequence[LabelledRow]) -> Self:
        """Fit vectors and classifier."""
        claims = _claims(rows)
        with threadpool_limits(limits=1):  # vectors this thin only lose by threads: 15 times on busy cores
            self._pipeline.fit([row.text for row in claims], [row.label for row in claims])
        return self

    def predict(self, rows: Sequence[LabelledRow]) -> list[str]:
        """Give the likeliest class of each row."""
        return [str(label) for label in self._pipeline.predict([row.text for row in rows])]


BASELINES: dict[str, Callable[[], Baseline]] = {"majority": Majority, "lexicon": CueLexicon, "tfidf": Tfidf}
LEARNING = ("majority", "tfidf")
"""Those that need training rows."""


def compare(rows: Sequence[LabelledRow], train: Sequence[LabelledRow] | None) -> dict[str, Classification]:
    """Score the baselines on the rows that make a claim; without training rows, those that learn are left out."""
    claims, known = _claims(rows), [row for row in _claims(train or []) if not row.is_taught]
    return {
        name: _classification(claims, make().fit(known).predict(claims))
        for name, make in BASELINES.items()
        if known or name not in LEARNING
    }


def cross_validate_by_document(rows: Sequence[LabelledRow], folds: int) -> float:
    """Give the macro-F1 of TF-IDF where each fold of documents is predicted from the others.

    On written sentences a document is a proposition: a figure far above chance would mean that their
    wording follows templates which a bag of words can guess.
    """
    claims = _claims(rows)
    groups = cluster_indices([row.document for row in claims])
    predicted = np.empty(len(claims), dtype=object)
    for rest, fold in GroupKFold(folds).split(claims, groups=groups):
        predicted[fold] = Tfidf().fit([claims[i] for i in rest]).predict([claims[i] for i in fold])
    return _classification(claims, predicted.tolist()).macro_f1


def _claims(rows: Sequence[LabelledRow]) -> list[LabelledRow]:
    return [row for row in rows if row.is_claim]


def _classification(rows: Sequence[LabelledRow], predicted: Sequence[str]) -> Classification:
    gold = label_indices([row.label for row in rows])
    return classify(gold, label_indices(predicted), [row.document for row in rows])


def _pattern(entries: Sequence[str]) -> re.Pattern[str]:
    """Compile entries into one pattern over prepared and folded text."""
    return re.compile(rf"(?<!\S)[وف]?(?:{'|'.join(map(_entry, entries))})(?!\S)")


def _entry(entry: str) -> str:
    """Turn one entry into a regular expression."""
    words = [r"\S*".join(map(re.escape, word.split("*"))) for word in entry.translate(_FOLDED).split()]
    return " ".join(words).replace(" …", _GAP)
