"""Scores of tags against gold labels: plain functions over arrays, and the dataclasses they fill."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from yaqin.inference.checkpoint import LABELS, NO_CLAIM

N_BINS = 15
"""Equal bins of the calibration error, as in Guo et al. 2017."""
N_RESAMPLES = 1000
COVERAGE = 0.8
"""The coverage whose accuracy is reported: the least certain fifth withheld."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class; `support` counts its gold rows."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Classification:
    """How well predicted classes agree with gold ones.

    Attributes:
        n_claims: Rows scored.
        macro_f1: Mean F1 over the classes that have gold rows.
        macro_f1_interval: Its bootstrap 95 % interval, resampled by document.
        accuracy: Fraction of rows that are right.
        per_class: Scores of each of the four classes.
        confusion: Row counts, gold class by predicted class. *Shape:* ``(4, 4)``
    """

    n_claims: int
    macro_f1: float
    macro_f1_interval: tuple[float, float]
    accuracy: float
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]


@dataclass(frozen=True)
class TagPrecision:
    """What a reader sees of one tag: how many rows got it, and how many of these have it as their gold label."""

    precision: float | None
    n_tagged: int


@dataclass(frozen=True)
class Bin:
    """Rows whose confidence lies in ``(lower, upper]``; the means are None where there are none."""

    lower: float
    upper: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Curves:
    """What the pictures show.

    Attributes:
        reliability: The bins that the calibration error sums over.
        risk_coverage: Error rate over the most certain 1, 2, … 100 % of rows. *Shape:* ``(100,)``
    """

    reliability: list[Bin]
    risk_coverage: list[float]


@dataclass(frozen=True)
class Scores:
    """Everything that is measured of a tagger on one set of rows.

    Classes, calibration and selection take the arg-max of the four classes over rows whose gold label is a
    claim, even where the tag is null. Claim detection and `tag_precision` look at all rows.

    Attributes:
        n_rows: All rows, those without a claim too.
        n_documents: The articles they come from.
        classes: Agreement of the classes.
        ece: Expected calibration error (Guo et al. 2017).
        aurc: Area under the risk-coverage curve (Geifman & El-Yaniv 2017), lower is better.
        accuracy_at_80: Accuracy over the most certain 80 %.
        no_claim: Detection of rows without a claim, at the checkpoint's threshold.
        tag_precision: Of each tag as it is given out.
        curves: Calibration and selection in detail.
    """

    n_rows: int
    n_documents: int
    classes: Classification
    ece: float
    aurc: float
    accuracy_at_80: float
    no_claim: ClassScores
    tag_precision: dict[str, TagPrecision]
    curves: Curves

    def to_json(self) -> dict[str, Any]:
        """Give plain dictionaries, lists and numbers, with the entries of `classes` at the top level."""
        content = asdict(self)
        return {"n_rows": content.pop("n_rows"), **content.pop("classes"), **content}


def score(
    gold: Sequence[str],
    probabilities: np.ndarray,
    tagged: np.ndarray,
    documents: Sequence[str],
) -> Scores:
    """Score calibrated probabilities.

    Args:
        gold: Labels, `none` among them; at least one is a claim.
        probabilities: Of the four classes. *Shape:* ``(n, 4)``
        tagged: Whether a row got a tag, that is, was taken for a claim. *Shape:* ``(n,)``, booleans
        documents: Article of each row; an empty one stands for an article of its own.
    """
    labels = np.asarray(gold)
    is_claim = labels != NO_CLAIM
    index, claim_documents = label_indices(labels[is_claim]), np.asarray(documents)[is_claim]
    claims = probabilities[is_claim]
    confidence, correct = claims.max(axis=1), claims.argmax(axis=1) == index
    bins = reliability_bins(confidence, correct)
    risks = risk_curve(confidence, correct)
    n = len(risks)
    return Scores(
        n_rows=len(labels),
        n_documents=int(cluster_indices(documents).max()) + 1,
        classes=classify(index, claims.argmax(axis=1), claim_documents.tolist()),
        ece=calibration_error(bins),
        aurc=float(risks.mean()),
        accuracy_at_80=1 - float(risks[_kept(COVERAGE, n)]),
        no_claim=_class_scores(~is_claim, ~tagged, [True])[0],
        tag_precision=_tag_precision(labels[tagged], probabilities[tagged].argmax(axis=1)),
        curves=Curves(bins, [float(risks[_kept(percent / 100, n)]) for percent in range(1, 101)]),
    )


def classify(gold: np.ndarray, predicted: np.ndarray, documents: Sequence[str]) -> Classification:
    """Score predicted classes; both arrays hold indices into `LABELS`. *Shape:* ``(n,)``."""
    confusion = confusion_matrix(gold, predicted, labels=range(len(LABELS)))
    per_class = _class_scores(gold, predicted, list(range(len(LABELS))))
    return Classification(
        n_claims=len(gold),
        macro_f1=float(_macro_f1(confusion)),
        macro_f1_interval=bootstrap_interval(gold, predicted, documents),
        accuracy=float(np.trace(confusion) / confusion.sum()),
        per_class=dict(zip(LABELS, per_class, strict=True)),
        confusion=confusion.tolist(),
    )


def bootstrap_interval(
    gold: np.ndarray, predicted: np.ndarray, documents: Sequence[str], *, seed: int = 0
) -> tuple[float, float]:
    """Give the percentile 95 % interval of macro-F1 (Efron & Tibshirani 1993, chapter 13).

    Whole documents are drawn (the cluster bootstrap of Field & Welsh 2007), since sentences of one article
    are not independent.
    """
    clusters = cluster_indices(documents)
    n_clusters = int(clusters.max()) + 1
    size = len(LABELS)
    confusions = np.zeros((n_clusters, size * size))
    np.add.at(confusions, (clusters, gold * size + predicted), 1)
    evenly = np.full(n_clusters, 1 / n_clusters)
    weights = np.random.default_rng(seed).multinomial(n_clusters, evenly, N_RESAMPLES)
    resampled = _macro_f1((weights @ confusions).reshape(N_RESAMPLES, size, size))
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def reliability_bins(confidence: np.ndarray, correct: np.ndarray) -> list[Bin]:
    """Sort rows into `N_BINS` equal bins of confidence, each closed on the right."""
    edges = np.linspace(0, 1, N_BINS + 1)
    place = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, N_BINS - 1)
    bins = []
    for i in range(N_BINS):
        inside = place == i
        n = int(inside.sum())
        means = (float(confidence[inside].mean()), float(correct[inside].mean())) if n else (None, None)
        bins.append(Bin(float(edges[i]), float(edges[i + 1]), n, *means))
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """Give the expected calibration error, the mean gap of accuracy and confidence (Guo et al. 2017, eq. 5)."""
    gaps = (b.n * abs((b.accuracy or 0.0) - (b.confidence or 0.0)) for b in bins)
    return sum(gaps) / sum(b.n for b in bins)


def risk_curve(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Give the error rate over the 1, 2, … n most certain rows. *Shape:* ``(n,)``.

    Rows of equal confidence share their mean error, so that the curve does not depend on the order of rows.
    """
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    errors = np.bincount(group, weights=~correct) / sizes
    return np.cumsum(np.repeat(errors, sizes)) / np.arange(1, len(confidence) + 1)


def cluster_indices(documents: Sequence[str]) -> np.ndarray:
    """Number the articles; a row without a document is an article of its own. *Shape:* ``(n,)``."""
    names = [("document", name) if name else ("row", i) for i, name in enumerate(documents)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def label_indices(labels: Iterable[str]) -> np.ndarray:
    """Give the place of each label in `LABELS`. *Shape:* ``(n,)``."""
    return np.array([LABELS.index(label) for label in labels], dtype=np.int64)


def _kept(coverage: float, n: int) -> int:
    """Index of the last row kept at `coverage`; rounded first, since 0.07 * 100 exceeds 7."""
    return int(np.ceil(round(coverage * n, 6))) - 1


def _macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Macro-F1 of confusion matrices over classes with gold rows. *Shape:* ``(…, 4, 4)`` to ``(…,)``."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    support = confusion.sum(axis=-1)
    f1 = 2 * hits / np.maximum(support + confusion.sum(axis=-2), 1)
    return np.asarray(f1.sum(axis=-1) / (support > 0).sum(axis=-1))


def _class_scores(gold: np.ndarray, predicted: np.ndarray, classes: list[Any]) -> list[ClassScores]:
    columns = precision_recall_fscore_support(gold, predicted, labels=classes, zero_division=0)
    return [ClassScores(float(p), float(r), float(f), int(n)) for p, r, f, n in zip(*columns, strict=True)]


def _tag_precision(gold: np.ndarray, predicted: np.ndarray) -> dict[str, TagPrecision]:
    right = {label: gold[predicted == i] == label for i, label in enumerate(LABELS)}
    return {label: TagPrecision(float(hits.mean()) if len(hits) else None, len(hits)) for label, hits in right.items()}
