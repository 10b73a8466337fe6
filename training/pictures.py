"""Pictures of an evaluation: reliability diagram, risk-coverage curve and confusion matrix, as SVG and PNG."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from yaqin.inference.checkpoint import LABELS

# without a date and with fixed ids (svg.hashsalt) the same report gives the same bytes
FORMATS: dict[str, dict[str, Any]] = {"svg": {"metadata": {"Date": None}}, "png": {"dpi": 160}}
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "yaqin",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#5b6470",
    "text.color": "#1f2933",
    "axes.labelcolor": "#1f2933",
}
_BLUE, _GREY, _ORANGE = "#2f6f9f", "#9aa5b1", "#c8553d"


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """Draw every picture of a report into `folder`."""
    with matplotlib.rc_context(_STYLE):
        for name, picture in PICTURES.items():
            figure = picture(report)
            FigureCanvasAgg(figure)
            for suffix, options in FORMATS.items():
                figure.savefig(folder / f"{name}.{suffix}", format=suffix, **options)


def reliability_diagram(report: Mapping[str, Any]) -> Figure:
    """Draw accuracy over confidence in each bin, with the number of rows below (Guo et al. 2017, figure 4)."""
    figure = Figure(figsize=(4.8, 5.2), layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    bins = [b for b in report["curves"]["reliability"] if b["n"]]
    width = bins[0]["upper"] - bins[0]["lower"]
    left = [b["lower"] for b in bins]
    top.bar(left, [b["accuracy"] for b in bins], width, align="edge", color=_BLUE, edgecolor="white")
    top.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1.2, label="perfect calibration")
    top.plot(
        [b["confidence"] for b in bins],
        [b["accuracy"] for b in bins],
        "o",
        color=_ORANGE,
        markersize=4,
        label="mean of a bin",
    )
    top.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    top.set_title(f"Reliability: ECE {report['overall']['ece']:.3f}")
    top.legend(frameon=False, loc="upper left")
    below.bar(left, [b["n"] for b in bins], width, align="edge", color=_GREY, edgecolor="white")
    below.set(xlabel="confidence (highest class probability)", ylabel="sentences")
    return figure


def risk_coverage_curve(report: Mapping[str, Any]) -> Figure:
    """Draw the error rate over the most certain sentences, by how many are kept."""
    figure = Figure(figsize=(5.2, 3.9), layout="constrained")
    axes: Axes = figure.subplots()
    coverage, risk = range(1, 101), [100 * risk for risk in report["curves"]["risk_coverage"]]
    axes.plot(coverage, risk, color=_BLUE, linewidth=2)
    axes.fill_between(coverage, risk, color=_BLUE, alpha=0.12, linewidth=0)
    at_80 = 100 * (1 - report["overall"]["accuracy_at_80"])
    axes.plot([80, 80], [0, at_80], color=_ORANGE, linestyle="--", linewidth=1.2)
    axes.plot(80, at_80, "o", color=_ORANGE)
    axes.annotate(f"{at_80:.1f} % errors at 80 %", (80, at_80), (-8, 10), textcoords="offset points", ha="right")
    axes.set(
        xlim=(0, 100),
        ylim=(0, None),
        xlabel="coverage: most certain sentences kept (%)",
        ylabel="errors among them (%)",
    )
    axes.set_title(f"Risk and coverage: AURC {report['overall']['aurc']:.3f}")
    return figure


def confusion_picture(report: Mapping[str, Any]) -> Figure:
    """Draw the confusion matrix: counts, shaded by their share of the gold class."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes: Axes = figure.subplots()
    counts = np.array(report["overall"]["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for gold, predicted in np.ndindex(*counts.shape):
        share = shares[gold, predicted]
        text = f"{counts[gold, predicted]}\n{share:.0%}"
        axes.text(predicted, gold, text, ha="center", va="center", color="white" if share > 0.5 else "#1f2933")
    axes.set_xticks(range(len(LABELS)), LABELS)
    axes.set_yticks(range(len(LABELS)), LABELS)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="tag", ylabel="gold label")
    low, high = report["overall"]["macro_f1_interval"]
    axes.set_title(f"Macro-F1 {report['overall']['macro_f1']:.3f} (95 %: {low:.3f} to {high:.3f})")
    return figure


PICTURES: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "reliability": reliability_diagram,
    "risk_coverage": risk_coverage_curve,
    "confusion": confusion_picture,
}
