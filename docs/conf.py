"""How Sphinx makes the site of these pages (`nox -s docs`): no network, warnings are errors.

The pages are Markdown that reads well where it lies. Two things are put in only here: the tables that `methods` fills
in, where a page has ``<!-- table of … -->``, and what links to files that are no pages of the site become, their names.
Pictures may lie anywhere in the repository, and open in full when clicked (Sphinx does that for scaled ones).
"""

import re
from pathlib import Path

import dmin_core

project = "dmin"
author = copyright = "The dmin developers"
version = release = dmin_core.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
root_doc = "index"
exclude_patterns = ["_templates"]
templates_path = ["_templates"]
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"dmin {release}"
html_show_sourcelink = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_style = "friendly"
pygments_dark_style = "monokai"  # Furo's own underlines modules, as if they were links

default_role = "literal"  # in docstrings, `fun` is an argument more often than it is a link
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's Parameters say them, in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
# Other projects' classes are not looked up, for that would need a network: names outside dmin_core are let be.
nitpick_ignore_regex = [("py:(class|obj|exc)", r"(?!dmin_core\.).*")]

ROOT = Path(__file__).parents[1]


def decisions() -> str:
    """What one has, and the methods that are for it, as `methods` says."""
    table = {name: each for name, each in dmin_core.methods().items() if each.distribution == "dmin-core"}
    rows = {
        "no gradient, and differences will not do": lambda m: not m.gradient,
        "gradients, nothing more": lambda m: m.gradient and not m.needs_hessian,
        "Hessian products": lambda m: m.hessp,
        "a dense Hessian": lambda m: m.hess,
        "bounds": lambda m: m.bounds,
        "bounds and no gradient": lambda m: m.bounds and not m.gradient,
        "constraints": lambda m: m.constraints,
        "constraints and no gradient": lambda m: m.constraints and not m.gradient,
        "arrays that should stay on their device": lambda m: m.on_device,
    }
    lines = ["For what you have, as `dmin_core.methods()` says:", "", "| You have | Methods |", "|---|---|"]
    lines += [f"| {what} | {', '.join(n for n, m in table.items() if holds(m))} |" for what, holds in rows.items()]
    return "\n".join(lines)


def options() -> str:
    """The options of each method, as `methods` says."""
    lines = ["| Method | `options` |", "|---|---|"]
    for name, each in dmin_core.methods().items():
        if each.distribution == "dmin-core":
            lines.append(f"| {name} | {', '.join(f'`{option}`' for option in each.options)} |")
    return "\n".join(lines)


TABLES = {"decisions": decisions, "options": options}


def complete(app, docname, source):
    """Put the tables in, and names for links that leave the site; pictures as wide as the page open when clicked."""
    text = re.sub(r"<!-- table of (\w+) -->", lambda found: TABLES[found[1]](), source[0])
    text = re.sub(r"^!\[.+\]\(.+\)$", r'\g<0>{width="100%"}', text, flags=re.MULTILINE)
    source[0] = re.sub(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+)([^)]+)\)", leave, text)


def leave(found):
    text, _, target = found.groups()
    assert (ROOT / target.partition("#")[0]).exists(), f"there is no {target}"
    name = f"`{target}`"
    return f"{name} of the repository" if text.strip("`") in target else f"{text} ({name} of the repository)"


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", complete)
