"""What is fitted on development rows after training: temperature, claim threshold, confidence quantiles."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.model_selection import GroupKFold

from yaqin.inference.errors import YaqinError
from yaqin.training.scores import calibration_error, cluster_indices, reliability_bins

_TEMPERATURES = (0.05, 20.0)


def fit_temperature(logits: np.ndarray, gold: np.ndarray) -> float:
    """Find the temperature under which `gold` is likeliest (Guo et al. 2017, section 4.2).

    Args:
        logits: Of rows with a claim. *Shape:* ``(n, 4)``
        gold: Their classes as indices. *Shape:* ``(n,)``
    """
    rows = np.arange(len(gold))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[rows, gold].mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def cross_fitted_ece(logits: np.ndarray, gold: np.ndarray, documents: Sequence[str], folds: int) -> float:
    """Measure the calibration error of each fold under the temperature of the other folds.

    A temperature flatters the rows it was fitted on; this figure is honest. Folds keep articles whole.

    Raises:
        YaqinError: There are fewer articles than folds.
    """
    clusters = cluster_indices(documents)
    n_documents = int(clusters.max()) + 1
    if n_documents < folds:
        raise YaqinError(f"calibrate.folds: expected at most one a document, {n_documents}, found {folds}")
    probabilities = np.empty_like(logits, dtype=np.float64)
    for rest, fold in GroupKFold(folds).split(logits, groups=clusters):
        probabilities[fold] = softmax(logits[fold] / fit_temperature(logits[rest], gold[rest]), axis=1)
    correct = probabilities.argmax(axis=1) == gold
    return calibration_error(reliability_bins(probabilities.max(axis=1), correct))


def fit_claim_threshold(claim_probabilities: np.ndarray, is_claim: np.ndarray) -> float:
    """Find the threshold that maximises F1 of the rows without a claim; 0 (tag all) where there are none.

    Of equally good thresholds the lowest is taken: it withholds the fewest tags.
    *Shape:* both ``(n,)``
    """
    order = np.argsort(claim_probabilities)
    sorted_probabilities = claim_probabilities[order]
    hits = np.cumsum(~is_claim[order])
    n_below = np.arange(1, len(order) + 1)
    f1 = 2 * hits / (n_below + hits[-1])
    f1[:-1][sorted_probabilities[1:] == sorted_probabilities[:-1]] = 0  # no threshold parts equal values
    f1[-1] = 0  # and none withholds every tag
    best = int(f1.argmax())
    return float(sorted_probabilities[best : best + 2].mean()) if f1[best] > 0 else 0.0


def confidence_quantiles(probabilities: np.ndarray) -> tuple[float, ...]:
    """Give the highest class probability at 0, 1, … 100 % of rows, for `--withhold`. *Shape:* ``(101,)``."""
    return tuple(float(q) for q in np.quantile(probabilities.max(axis=1), np.linspace(0, 1, 101)))
