import numpy as np
import pytest
from sklearn.metrics import f1_score

from yaqin.inference.checkpoint import LABELS
from yaqin.training.scores import (
    N_BINS,
    bootstrap_interval,
    calibration_error,
    classify,
    cluster_indices,
    reliability_bins,
    risk_curve,
    score,
)


def simulated(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gold classes and probabilities that are calibrated by construction."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(4, 0.4), n)
    gold = np.array([rng.choice(4, p=row) for row in probabilities])
    return gold, probabilities, probabilities.argmax(axis=1)


def test_scores_by_hand() -> None:
    scores = classify(np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 1, 1, 2, 2]), [""] * 6)
    assert scores.confusion == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    assert scores.accuracy == pytest.approx(4 / 6)
    assert [scores.per_class[label].f1 for label in LABELS] == pytest.approx([2 / 3, 4 / 5, 2 / 3, 0])
    assert scores.macro_f1 == pytest.approx((2 / 3 + 4 / 5 + 2 / 3) / 4)
    assert scores.per_class["attributed"].support == 2


def test_macro_f1_is_that_of_scikit_learn_where_every_class_has_rows() -> None:
    gold, _, predicted = simulated()
    expected = f1_score(gold, predicted, average="macro")
    assert classify(gold, predicted, [""] * len(gold)).macro_f1 == pytest.approx(expected)


def test_a_class_without_gold_rows_does_not_count_in_macro_f1() -> None:
    assert classify(np.array([0, 1]), np.array([0, 1]), ["", ""]).macro_f1 == 1


def test_the_interval_holds_the_score_and_is_the_same_every_time() -> None:
    gold, _, predicted = simulated()
    documents = [f"article {i // 2}" for i in range(len(gold))]
    first, second = (classify(gold, predicted, documents) for _ in range(2))
    low, high = first.macro_f1_interval
    assert low < first.macro_f1 < high
    assert first == second


def test_rows_of_one_article_count_as_one_observation() -> None:
    gold, _, predicted = simulated(100)
    names = [f"article {i}" for i in range(100)]

    def width(interval: tuple[float, float]) -> float:
        return interval[1] - interval[0]

    alone = bootstrap_interval(gold, predicted, names)
    by_article = bootstrap_interval(np.repeat(gold, 9), np.repeat(predicted, 9), [n for n in names for _ in range(9)])
    as_if_independent = bootstrap_interval(np.repeat(gold, 9), np.repeat(predicted, 9), [""] * 900)
    assert by_article == pytest.approx(alone)
    assert width(as_if_independent) < width(alone) / 2


def test_a_row_without_document_is_an_article_of_its_own() -> None:
    assert cluster_indices(["a", "", "a", "", "0"]).tolist() == [0, 1, 0, 2, 3]


def test_calibration_error_by_hand() -> None:
    bins = reliability_bins(np.array([0.95, 0.95, 0.5, 0.5]), np.array([True, True, True, False]))
    assert calibration_error(bins) == pytest.approx(0.5 * 0.05)
    assert sum(b.n for b in bins) == 4
    assert len(bins) == N_BINS


def test_a_confidence_on_an_edge_falls_into_the_lower_bin() -> None:
    bins = reliability_bins(np.array([0.2, 1.0]), np.array([True, True]))
    assert [i for i, b in enumerate(bins) if b.n] == [2, 14]


def test_calibrated_probabilities_have_a_small_error_and_sharpened_ones_a_large() -> None:
    gold, probabilities, predicted = simulated(4000)

    def ece(confidence: np.ndarray) -> float:
        return calibration_error(reliability_bins(confidence, predicted == gold))

    assert ece(probabilities.max(axis=1)) < 0.03
    assert ece(np.ones(4000)) > 0.15


def test_risk_falls_as_the_least_certain_rows_are_withheld() -> None:
    assert risk_curve(np.array([0.6, 0.9, 0.8]), np.array([False, True, True])).tolist() == [0, 0, 1 / 3]


def test_the_risk_curve_does_not_depend_on_the_order_of_rows() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.5])
    correct = np.array([False, True, True, True])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]):
        assert risk_curve(confidence[order], correct[order]) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1 / 4])


def test_rows_without_a_claim_count_only_in_claim_detection_and_tag_precision() -> None:
    gold = ["confirmed", "hedged", "none", "none"]
    probabilities = np.array([[0.9, 0.1, 0, 0], [0.1, 0.1, 0.8, 0], [0.7, 0.3, 0, 0], [0.7, 0.3, 0, 0]])
    scores = score(gold, probabilities, np.array([True, False, True, False]), ["a", "a", "b", "b"])
    assert scores.classes.macro_f1 == 1  # although the hedged row got no tag
    assert (scores.n_rows, scores.classes.n_claims, scores.n_documents) == (4, 2, 2)
    assert (scores.no_claim.precision, scores.no_claim.recall, scores.no_claim.support) == (0.5, 0.5, 2)
    assert (scores.tag_precision["confirmed"].precision, scores.tag_precision["confirmed"].n_tagged) == (0.5, 2)
    assert scores.tag_precision["hedged"].precision is None


def test_accuracy_at_80_withholds_the_least_certain_fifth() -> None:
    confidence = np.array([0.9, 0.85, 0.8, 0.75, 0.4])
    rest = ((1 - confidence) / 3)[:, None].repeat(3, axis=1)
    probabilities = np.hstack([confidence[:, None], rest])
    gold = ["confirmed", "confirmed", "confirmed", "hedged", "hedged"]
    scores = score(gold, probabilities, np.full(5, True), [""] * 5)
    assert scores.accuracy_at_80 == pytest.approx(3 / 4)
    assert scores.curves.risk_coverage[-1] == pytest.approx(2 / 5)
    assert len(scores.curves.risk_coverage) == 100
