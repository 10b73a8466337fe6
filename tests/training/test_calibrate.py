import numpy as np
import pytest

from yaqin.inference.errors import YaqinError
from yaqin.training.calibrate import (
    confidence_quantiles,
    cross_fitted_ece,
    fit_claim_threshold,
    fit_temperature,
)
from yaqin.training.scores import calibration_error, reliability_bins


def logits_and_gold(n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is calibrated by construction."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1.5, (n, 4))
    gumbel = rng.gumbel(size=(n, 4))  # the arg-max of logits + Gumbel noise is a draw from their softmax
    return logits, (logits + gumbel).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_applied_is_found_again(temperature: float) -> None:
    logits, gold = logits_and_gold()
    assert fit_temperature(logits * temperature, gold) == pytest.approx(temperature, rel=0.08)


def test_float32_logits_of_an_engine_are_fitted_alike() -> None:
    logits, gold = logits_and_gold(500)
    assert fit_temperature(logits.astype(np.float32), gold) == pytest.approx(fit_temperature(logits, gold), rel=1e-3)


def test_cross_fitting_mends_overconfidence() -> None:
    logits, gold = logits_and_gold()
    documents = [f"article {i // 3}" for i in range(len(gold))]
    overconfident = 4 * logits
    exponentials = np.exp(overconfident - overconfident.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    raw = calibration_error(reliability_bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == gold))
    assert cross_fitted_ece(overconfident, gold, documents, 5) < 0.04 < 0.2 < raw


def test_cross_fitting_never_sees_the_articles_it_measures() -> None:
    logits = np.tile([4.0, 0, 0, 0], (6, 1))
    gold = np.array([0, 0, 0, 1, 1, 1])
    # each fold is one article, all right or all wrong: the other one's temperature must fit it badly
    assert cross_fitted_ece(logits, gold, ["a"] * 3 + ["b"] * 3, 2) > 0.5


def test_more_folds_than_articles_are_refused() -> None:
    with pytest.raises(YaqinError, match=r"calibrate\.folds: expected at most one a document, 1, found 3"):
        cross_fitted_ece(np.zeros((2, 4)), np.array([0, 1]), ["a", "a"], 3)


def test_the_claim_threshold_parts_claims_from_the_rest() -> None:
    probabilities = np.array([0.9, 0.2, 0.8, 0.3, 0.7])
    threshold = fit_claim_threshold(probabilities, np.array([True, False, True, False, True]))
    assert threshold == pytest.approx(0.5)


def test_the_claim_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(5)
    is_claim = rng.random(300) < 0.85
    probabilities = np.clip(rng.normal(np.where(is_claim, 0.7, 0.4), 0.2), 0, 1).round(2)

    def f1(threshold: float) -> float:
        below = probabilities < threshold
        return float(2 * (below & ~is_claim).sum() / (below.sum() + (~is_claim).sum()))

    best = max(f1(threshold) for threshold in np.arange(0, 1, 0.005))
    assert f1(fit_claim_threshold(probabilities, is_claim)) == pytest.approx(best)


@pytest.mark.parametrize(
    ("probabilities", "is_claim"),
    [([0.1, 0.6, 0.9], [True, True, True]), ([0.5, 0.5], [True, False]), ([0.2, 0.4], [True, False])],
    ids=["only claims", "equal probabilities", "upside down"],
)
def test_where_no_threshold_helps_every_row_keeps_its_tag(probabilities: list[float], is_claim: list[bool]) -> None:
    assert fit_claim_threshold(np.array(probabilities), np.array(is_claim)) == 0


def test_quantiles_run_from_the_least_to_the_most_certain_row() -> None:
    probabilities = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.9, 0, 0], [0.6, 0.4, 0, 0]])
    quantiles = confidence_quantiles(probabilities)
    assert len(quantiles) == 101
    assert (quantiles[0], quantiles[50], quantiles[100]) == (0.4, 0.6, 0.9)
    assert list(quantiles) == sorted(quantiles)
