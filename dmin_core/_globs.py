"""Parts of an x0 by name: a key, a path as Python writes it, or a glob over paths.

What ``bounds={name: ...}`` and ``frozen={name: ...}`` take. In this order a name is

1. a key of the dictionary it is looked up in;
2. a path as error messages write it: ``x0['encoder'][0].w``, of a leaf or of anything above leaves;
3. a glob over paths whose steps, dictionary keys, list indices and attributes by their text, are joined by ``/``:
   ``encoder/0/w``.

In a glob ``*`` stands for any text within one step, ``?`` for one character of it, ``[ab]`` and ``[!ab]`` for one that
is, or is not, among these, and a step ``**`` for any number of steps, none too: what shells, gitignore and pathlib mean
by them. As bounds do everywhere, a name holds for all that lies below what it matches: ``encoder``, ``encoder/*`` and
``encoder/**`` are three names for the same leaves. A ``/`` inside a key divides it into steps like any other, for flat
dictionaries of names such as ``dense/kernel`` are nests in spirit.

Of several entries that name one leaf, a name without wildcards goes before a glob, and a later entry before an earlier
one; the entry that goes first says everything. So what is general may stand beside its exceptions in any order.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from fnmatch import translate
from typing import Any

import optree

from ._errors import InputError
from ._leaves import NAMESPACE

Steps = tuple[str, ...]
WILDCARDS = frozenset("*?[")
SHOWN = 8
"""How many names an error lists."""


class Glob:
    """A pattern over steps.

    Parameters
    ----------
    pattern : str

    Attributes
    ----------
    is_literal : bool
        Whether it has no wildcard, and so is the one name of what it matches.
    """

    def __init__(self, pattern: str) -> None:
        self.parts: Steps = tuple(pattern.strip("/").split("/"))
        self.is_literal = not WILDCARDS.intersection(pattern)
        self._tests = [None if part == "**" else re.compile(translate(part)).match for part in self.parts]

    def covers(self, steps: Steps) -> bool:
        """Whether the pattern matches these steps, or the first few of them."""
        reached = {0}
        for test in self._tests:
            if test is None:
                reached = set(range(min(reached), len(steps) + 1))
            else:
                reached = {i + 1 for i in reached if i < len(steps) and test(steps[i])}
            if not reached:
                return False
        return True


@dataclass(frozen=True)
class Part:
    """A node of x0, with everything below it.

    Attributes
    ----------
    node : Any
    spec : optree.PyTreeSpec
        Of the node.
    start : int
        Which of x0's leaves its first one is.
    path : str
        ``x0['encoder']``
    steps : tuple of str
        The same as globs see it.
    """

    node: Any
    spec: optree.PyTreeSpec
    start: int = 0
    path: str = "x0"
    steps: Steps = ()

    @property
    def leaves(self) -> range:
        """Which of x0's leaves lie here."""
        return range(self.start, self.start + self.spec.num_leaves)

    @functools.cached_property
    def children(self) -> dict[Any, Part]:
        """The parts right below, by key, index or position; empty for a leaf."""
        nodes, level = optree.tree_flatten(
            self.node, lambda node: node is not self.node, none_is_leaf=True, namespace=NAMESPACE
        )
        if level.is_leaf():
            return {}
        found, start = {}, self.start
        for key, accessor, node, spec in zip(
            level.entries(), level.accessors(), nodes, self.spec.children(), strict=True
        ):
            found[key] = Part(node, spec, start, accessor.codify(self.path), self.steps + _texts(accessor))
            start += spec.num_leaves
        return found

    @property
    def is_leaf(self) -> bool:
        """Whether nothing can lie below."""
        return self.spec.is_leaf()


@dataclass(frozen=True)
class Entry:
    """What a dictionary says of some leaves.

    Attributes
    ----------
    leaves : sequence of int
        Which of x0's leaves.
    name : str
        What to call them in messages: a path, or the glob in quotes.
    part : Part or None
        The one part of x0 that is meant; None where it may be several.
    exact : bool
        Whether the name has no wildcards.
    value : Any
        What is said; never a dictionary where ``part`` has something below it.
    """

    leaves: Sequence[int]
    name: str
    part: Part | None
    exact: bool = True
    value: Any = None


class Names:
    """Finds parts of an x0 by name.

    Parameters
    ----------
    x0 : nest
    spec : optree.PyTreeSpec
        Its structure.
    argument : str
        The argument of `minimize` whose names these are, for messages.
    """

    def __init__(self, x0: Any, spec: optree.PyTreeSpec, argument: str) -> None:
        self.root = Part(x0, spec)
        self.argument = argument

    @property
    def whole(self) -> Entry:
        """All of x0."""
        return Entry(self.root.leaves, self.root.path, self.root)

    @functools.cached_property
    def _steps(self) -> list[Steps]:
        return [_texts(accessor) for accessor in self.root.spec.accessors()]

    def entries(self, mapping: Mapping[Any, Any], within: Part | None = None) -> list[Entry]:
        """What a dictionary, and the dictionaries in it, say; what goes first comes last, so that it may overwrite.

        Raises
        ------
        InputError
            A name names nothing.
        """
        found = self._read(mapping, within or self.root)
        return sorted(found, key=lambda entry: entry.exact)

    def _read(self, mapping: Mapping[Any, Any], within: Part) -> list[Entry]:
        found: list[Entry] = []
        for key, value in mapping.items():
            entry = self.find(key, within)
            if entry.part is not None and isinstance(value, Mapping) and not entry.part.is_leaf:
                found += self._read(value, entry.part)
            else:
                found.append(replace(entry, value=value))
        return found

    def find(self, key: Any, within: Part | None = None) -> Entry:
        """The leaves that ``key`` names.

        Parameters
        ----------
        key : str, or a key or index of the node ``within``
        within : Part, optional
            Where the name starts; default: at x0.

        Raises
        ------
        InputError
            It names nothing; the message lists what is near.
        """
        within = within or self.root
        part = self._by_key(key, within) or (self._by_path(key, within) if isinstance(key, str) else None)
        if part is not None:
            return Entry(part.leaves, part.path, part)
        if not isinstance(key, str):
            raise self._unknown(key, within)
        glob = Glob(key)
        leaves = self._covered(glob, within)
        if not leaves:
            raise self._unknown(key, within)
        part = self._by_steps(within.steps + glob.parts, within) if glob.is_literal else None
        if part is not None:
            return Entry(part.leaves, part.path, part)
        return Entry(leaves, repr(key), None, glob.is_literal)

    @staticmethod
    def _by_key(key: Any, within: Part) -> Part | None:
        if isinstance(within.node, Mapping):
            return within.children.get(key) if key in within.node else None
        is_index = isinstance(within.node, list | tuple) and isinstance(key, int) and not isinstance(key, bool)
        return within.children.get(key) if is_index else None

    @staticmethod
    def _by_path(path: str, within: Part) -> Part | None:
        part: Part | None = within
        while part is not None:
            if part.path == path:
                return part
            part = next((child for child in part.children.values() if _is_below(path, child.path)), None)
        return None

    @staticmethod
    def _by_steps(steps: Steps, within: Part) -> Part | None:
        """The one part of these steps; None if there is none such, or several (keys with a ``/`` in them)."""
        found, open_parts = [], [within]
        while open_parts:
            part = open_parts.pop()
            if part.steps == steps:
                found.append(part)
            elif part.steps == steps[: len(part.steps)]:
                open_parts += part.children.values()
        return found[0] if len(found) == 1 else None

    def _unknown(self, key: Any, within: Part) -> InputError:
        names = self._near(key, within)
        more = ", …" if len(names) > SHOWN else ""
        deeper = Glob(f"**/{key}")
        hint = f" It is further down: '**/{key}' names it." if self._covered(deeper, within) else ""
        return InputError(
            f"{self.argument} names {key!r}, which {within.path} does not have; it has "
            f"{', '.join(names[:SHOWN])}{more}.{hint}"
        )

    def _covered(self, glob: Glob, within: Part) -> list[int]:
        return [i for i in within.leaves if glob.covers(self._steps[i][len(within.steps) :])]

    def _near(self, key: Any, within: Part) -> list[str]:
        """Names like ``key``, those most like it first; of a dictionary its keys, where no path was asked for."""
        if isinstance(within.node, Mapping) and not (WILDCARDS | {"/"}).intersection(str(key)):
            return list(map(repr, within.node))
        texts = ["/".join(self._steps[i][len(within.steps) :]) for i in within.leaves]
        if within.is_leaf or not texts:
            return [f"no parts, and is named {within.path!r}"]
        matcher = difflib.SequenceMatcher(b=str(key))  # which remembers what it finds out about b
        likeness = {}
        for text in texts[:1000]:
            matcher.set_seq1(text)
            likeness[text] = matcher.ratio()
        near = [text for text, ratio in likeness.items() if ratio >= 0.4]
        return list(map(repr, sorted(near, key=lambda text: -likeness[text]) or texts))


def is_names(value: Any) -> bool:
    """Whether ``value`` is a name or a collection of names, and not a nest like x0's."""
    if isinstance(value, str):
        return True
    return isinstance(value, Set) or (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(each, str) for each in value)
    )


def _is_below(path: str, root: str) -> bool:
    return path.startswith(root) and path[len(root) : len(root) + 1] in ("", "[", ".")


def _texts(accessor: optree.PyTreeAccessor) -> Steps:
    return tuple(text for entry in accessor for text in _text(entry).split("/"))


def _text(entry: Any) -> str:
    """A step as globs see it: the key, the index, the attribute."""
    for name in ("field", "name"):
        text = getattr(entry, name, None)
        if isinstance(text, str):
            return text
    return str(entry.entry)
