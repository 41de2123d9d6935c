"""A result for people to read: as text, and as a table in a notebook.

A small nest is shown as it is. A large one is shown leaf by leaf, with dtype, shape and range: what one wants to know
first of a million numbers is whether they are sane.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._leaves import class_of, dtype_name, flatten, is_array, paths
from ._plugins import get_backend

LONGEST = 400
"""Characters, and ten lines, up to which a nest is shown as it is."""

LEAVES = 12
"""Leaves that are listed before "and so many more"."""

FIRST = (*("message", "success", "status", "fun", "nit", "nfev", "njev", "nhev", "nfail", "method", "backend"), "time")
NESTS = ("x", "jac")


def as_text(result: Mapping[str, Any]) -> str:
    """What ``repr`` gives: one line a field, nests below, and the names of the rest."""
    lines = [f"{name:>9}: {_value(name, result[name])}" for name in FIRST if name in result]
    for name in NESTS:
        if name in result:
            lines.append(
                f"{name:>9}: " + nest_as_text(result[name], name, _backend(result)).replace("\n", "\n" + " " * 11)
            )
    rest = [name for name in result if name not in (*FIRST, *NESTS)]
    return "\n".join([*lines, f"{'also':>9}: {', '.join(rest)}"])


def _backend(result: Mapping[str, Any]) -> str:
    return str(result.get("backend", "numpy"))


def _value(name: str, value: Any) -> str:
    if name == "time" and isinstance(value, Mapping):
        return seconds(value)
    return str(value).replace("\n", "\n" + " " * 11)


def seconds(time: Mapping[str, float]) -> str:
    """Where the time went: ``1.23 s (objective 80 %, copies 2 %, solver 18 %)``."""
    total = time.get("total", 0.0)
    parts = [(name, part / total) for name, part in time.items() if name != "total" and total > 0]
    shown = ", ".join(f"{name} {share:.0%}" for name, share in parts if share >= 0.005)
    return f"{total:.3g} s" + (f" ({shown})" if shown else "")


def nest_as_text(nest: Any, name: str, backend: str) -> str:
    """A nest as it is where that is short; else a line a leaf."""
    leaves = flatten(nest)[0]
    sizes = [
        int(np.prod(leaf.shape, dtype=int)) for leaf in leaves if is_array(leaf) and hasattr(leaf.shape, "__len__")
    ]
    if len(leaves) <= LEAVES and sum(sizes) <= 200:
        with np.printoptions(threshold=20, edgeitems=3, precision=6, linewidth=100):
            text = repr(nest)
        if len(text) <= LONGEST and text.count("\n") < 10:
            return text
    rows = describe(nest, name, backend)
    width = [max(len(row[k]) for row in rows) for k in range(3)]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, width, strict=False)), row[3]]).rstrip() for row in rows
    ]
    return "\n".join([f"{len(leaves):,} leaves, {sum(sizes):,} numbers", *lines, *_more(leaves)])


def _more(leaves: list[Any]) -> list[str]:
    return [f"… and {len(leaves) - LEAVES:,} more leaves"] if len(leaves) > LEAVES else []


def describe(nest: Any, name: str, backend: str) -> list[tuple[str, str, str, str]]:
    """Path, dtype, shape and numbers of a nest's first leaves."""
    leaves, spec = flatten(nest)
    return [
        (path, *_leaf(leaf, backend)) for path, leaf in zip(paths(spec, name)[:LEAVES], leaves[:LEAVES], strict=True)
    ]


def _leaf(leaf: Any, backend: str) -> tuple[str, str, str]:
    if not is_array(leaf):
        text = repr(leaf)
        return "", "", text if len(text) <= 40 else text[:39] + "…"
    dtype, shape = dtype_name(leaf.dtype), str(tuple(leaf.shape))
    try:
        host = np.asarray(get_backend(backend).to_numpy(leaf), dtype=float)
    except Exception:  # noqa: BLE001 - a result that cannot be shown in full is shown in part
        return dtype, shape, class_of(leaf)
    if host.size == 0:
        return dtype, shape, "empty"
    if host.size <= 4:
        return dtype, shape, ", ".join(f"{number:.6g}" for number in host.ravel())
    bad = int(host.size - np.isfinite(host).sum())
    low, high = np.nanmin(host), np.nanmax(host)
    return dtype, shape, f"{low:.4g} … {high:.4g}" + (f", {bad:,} not finite" if bad else "")


# In a notebook -------------------------------------------------------------------------------------------


def as_html(result: Mapping[str, Any]) -> str:
    """A compact table. It takes colours and fonts from the page, which may be light or dark."""
    rows = []
    for name in FIRST[3:]:
        if name in result:
            value = f"{result[name]:.10g}" if name == "fun" else _value(name, result[name])
            rows.append(_row(name, value))
    for name in NESTS:
        if name in result:
            rows.append(_cells(name, _leaves_table(result[name], name, _backend(result))))
    rest = [name for name in result if name not in (*FIRST, *NESTS)]
    if rest:
        rows.append(_row("also", ", ".join(rest)))
    mark = "✓ converged" if result.get("success") else "✗ not converged"
    title = html.escape(f"{mark}: {result.get('message', '')}")
    return (
        f'<div style="overflow-x:auto"><div style="font-weight:bold;margin-bottom:.3em">{title}</div>'
        f'<table style="border-collapse:collapse;background:transparent;color:inherit">{"".join(rows)}</table></div>'
    )


CELL = "text-align:left;vertical-align:top;padding:.1em .8em;background:transparent;border:0"
LINE = "border-top:1px solid rgba(128,128,128,.35);background:transparent"


def _row(name: str, value: str) -> str:
    return _cells(name, html.escape(value))


def _cells(name: str, inner: str) -> str:
    return (
        f'<tr style="{LINE}"><th style="{CELL};opacity:.65;font-weight:normal">{html.escape(name)}</th>'
        f'<td style="{CELL}">{inner}</td></tr>'
    )


def _leaves_table(nest: Any, name: str, backend: str) -> str:
    leaves = flatten(nest)[0]
    rows = "".join(
        "<tr style='background:transparent'>"
        + "".join(f'<td style="{CELL};font-family:monospace">{html.escape(cell)}</td>' for cell in row)
        + "</tr>"
        for row in describe(nest, name, backend)
    )
    more = "".join(f'<div style="opacity:.65">{html.escape(line)}</div>' for line in _more(leaves))
    return f'<table style="border-collapse:collapse;background:transparent;color:inherit">{rows}</table>{more}'
