"""``python -m dmin_core``: what is installed here, what each part can do, and what is broken and why."""

from __future__ import annotations

from collections.abc import Sequence

from . import __version__, backends, methods
from ._plugins import BackendInfo
from .solvers import Method


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def backend_row(info: BackendInfo) -> list[str]:
    """One backend."""
    name = ", ".join([info.name, *info.aliases])
    source = f"{info.distribution} {info.version}"
    if info.error is not None:
        return [name, source, "broken (below)", "", ""]
    return [name, source, info.framework, ", ".join(info.devices), info.gradient]


def method_row(method: Method) -> list[str]:
    """One method."""
    if method.error is not None:
        return [method.name, method.distribution, "broken (below)", "", "", "", ""]
    second = "needs" if method.needs_hessian else "uses"
    return [
        method.name,
        method.distribution,
        "yes" if method.gradient else "",
        second if method.hessp else "",
        second if method.hess else "",
        "yes" if method.bounds else "",
        "yes" if method.constraints else "",
    ]


def main() -> None:
    """Print both tables."""
    found, known = backends(), methods()
    print(f"dmin-core {__version__}\n")
    print(
        table(
            ["backend", "distribution", "framework", "devices", "gradient"],
            [backend_row(b) for b in found.values()],
        )
    )
    print()
    head = ["method", "distribution", "gradient", "product", "Hessian", "bounds", "constraints"]
    print(table(head, [method_row(m) for m in known.values()]))
    parts: list[BackendInfo | Method] = [*found.values(), *known.values()]
    broken = [part for part in parts if part.error is not None]
    for part in broken:
        print(f"\n{part.name}: {part.error}")
        if part.error is not None and part.error.__cause__ is not None:
            print(f"  caused by {type(part.error.__cause__).__name__}: {part.error.__cause__}")


if __name__ == "__main__":
    main()
