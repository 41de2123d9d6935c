"""Pictures of runs: value and norm of the gradient, by evaluation and by seconds (`Result.plot`).

The line is the best value so far, for that is what a run would have returned; the dots are the points evaluated, line
searches' trials too. Which scale shows a descent depends on the values, and what is on the axis is said there: the
values themselves, on a logarithmic scale where they are positive and of several magnitudes; or else by how much they
are above the lowest in the picture.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._errors import InputError

DECADES = 2.0
"""From so many powers of ten on a logarithmic scale is used."""

DOTS = 300
"""More evaluations than these have no dots: they would be a blot."""


def plot(results: Sequence[Any], ax: Any = None, labels: Sequence[str] | None = None) -> Any:
    """Draw the histories of results.

    Parameters
    ----------
    results : sequence of Result
    ax : Axes or array of Axes, optional
        Where to draw: one for the value by evaluation alone; or as many as a figure of its own would have, rows of
        ``(by evaluation, by seconds)``, the value's first and the gradient's second if there is one.
    labels : sequence of str, optional
        One a result. Default: method and backend.

    Returns
    -------
    matplotlib.figure.Figure
    """
    results = list(results)
    labels = _labels(results) if labels is None else list(labels)
    if len(labels) != len(results):
        raise InputError(f"labels must be one a result: there are {len(labels)} labels for {len(results)} results.")
    if not any(len(result.history) for result in results):
        raise InputError("There is nothing to plot: no result has an evaluation in its history.")
    sloped = any(np.isfinite(result.history.grad_norm).any() for result in results)
    axes = _new_axes(2 if sloped else 1) if ax is None else _given_axes(ax, sloped)
    _draw_values(axes[0], results, labels)
    if len(axes) > 1:
        _draw_slopes(axes[1], results, labels)
    _finish(axes, results)
    figure = axes[0][0].get_figure()
    return figure


# Where ---------------------------------------------------------------------------------------------------


def _new_axes(rows: int) -> list[list[Any]]:
    try:
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError as cause:
        raise InputError(
            "plot() needs matplotlib, which is not installed here: pip install 'dmin-core[plot]'"
        ) from cause
    _, axes = pyplot.subplots(
        rows, 2, sharex="col", sharey="row", squeeze=False, figsize=(9, 1 + 2.6 * rows), layout="constrained"
    )
    return [list(row) for row in axes]


def _given_axes(ax: Any, sloped: bool) -> list[list[Any]]:
    given = np.array(ax, dtype=object)
    if given.ndim == 0:
        return [[given.item()]]
    if given.size == 2:
        return [list(given.ravel())]
    if given.size == 4:
        return [list(row) for row in given.reshape(2, 2)[: 2 if sloped else 1]]
    raise InputError(f"ax must be one Axes, two or (2, 2) of them; there are {given.size}.")


# What ----------------------------------------------------------------------------------------------------


def _labels(results: Sequence[Any]) -> list[str]:
    methods, backends = {r.method for r in results}, {r.backend for r in results}
    if len(backends) == 1 and len(methods) > 1:
        labels = [str(r.method) for r in results]
    elif len(methods) == 1 and len(backends) > 1:
        labels = [str(r.backend) for r in results]
    else:
        labels = [f"{r.method}, {r.backend}" for r in results]
    twice = {label for label in labels if labels.count(label) > 1}
    return [f"{label} ({i + 1})" if label in twice else label for i, label in enumerate(labels)]


def _draw_values(row: Sequence[Any], results: Sequence[Any], labels: Sequence[str]) -> None:
    finite = np.concatenate([r.history.fun[np.isfinite(r.history.fun)] for r in results])
    lowest = float(finite.min()) if finite.size else 0.0
    shift, logarithmic, name = _value_scale(finite, lowest)
    for k, (axis, by) in enumerate(zip(row, ("evaluation", "seconds"), strict=False)):
        for i, (result, label) in enumerate(zip(results, labels, strict=True)):
            history = result.history
            f = np.where(np.isfinite(history.fun), history.fun, np.nan) - shift
            best = np.fmin.accumulate(f) if f.size else f
            if logarithmic:
                f, best = (np.where(part > 0, part, np.nan) for part in (f, best))
            if f.size <= DOTS:
                axis.plot(history[by], f, ".", color=f"C{i}", alpha=0.3, markersize=4)
            axis.plot(history[by], best, "-", color=f"C{i}", linewidth=1.5, drawstyle="steps-post", label=label)
        if logarithmic:
            axis.set_yscale("log")
        _show_the_lines(axis, logarithmic)
        if k == 0:
            axis.set_ylabel(name)


def _show_the_lines(axis: Any, logarithmic: bool) -> None:
    """Limits by the lines, not by the dots: a line search's first trial may be far up."""
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in axis.lines if line.get_linestyle() != "None"]
    shown = np.concatenate(lines)
    shown = shown[np.isfinite(shown)]
    if not shown.size or shown.min() == shown.max():
        return
    low, high = float(shown.min()), float(shown.max())
    if logarithmic:
        margin = (high / low) ** 0.06
        axis.set_ylim(low / margin, high * margin)
    else:
        axis.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))


def _value_scale(finite: np.ndarray, lowest: float) -> tuple[float, bool, str]:
    """What is subtracted, whether the scale is logarithmic, and what to write beside it."""
    if not finite.size:
        return 0.0, False, "value"
    if lowest > 0 and np.log10(finite.max() / lowest) >= DECADES:
        return 0.0, True, "value"
    gaps = finite[finite > lowest] - lowest
    if gaps.size and np.log10(gaps.max() / gaps.min()) >= DECADES:
        return lowest, True, f"value above the lowest, {lowest:.6g}"
    return 0.0, False, "value"


def _draw_slopes(row: Sequence[Any], results: Sequence[Any], labels: Sequence[str]) -> None:
    norms = [np.where(r.history.grad_norm > 0, r.history.grad_norm, np.nan) for r in results]
    for k, (axis, by) in enumerate(zip(row, ("evaluation", "seconds"), strict=True)):
        for i, (result, norm, label) in enumerate(zip(results, norms, labels, strict=True)):
            known = np.isfinite(norm)
            style = ".-" if known.sum() <= DOTS / 3 else "-"
            axis.plot(
                result.history[by][known], norm[known], style, color=f"C{i}", linewidth=1, markersize=4, label=label
            )
        if any(np.isfinite(norm).any() for norm in norms):
            axis.set_yscale("log")
        if k == 0:
            axis.set_ylabel("norm of the gradient")


def _finish(axes: Sequence[Sequence[Any]], results: Sequence[Any]) -> None:
    for row in axes:
        for axis in row:
            axis.grid(True, alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
    for axis, by, name in zip(axes[-1], ("evaluation", "seconds"), ("evaluations", "seconds"), strict=False):
        axis.set_xlabel(name)
        ends = np.array([r.history[by][-1] for r in results if len(r.history)], dtype=float)
        # The shorter run would be a streak at the edge.
        if ends.min() > 0 and ends.max() / ends.min() > 30:
            for row in axes:
                row[0 if by == "evaluation" else 1].set_xscale("log")
        elif by == "evaluation":
            axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0][0].legend(frameon=False, fontsize="small")
