"""How the pages become a site: ``python3 noxfile.py docs``. Warnings are errors there.

The pages are Markdown that reads well as it lies in the repository. Two things that a site needs and such a page does
not are added while a page is read: the tree of pages (an index names its pages in links, and these are the tree), and
whole addresses for links that lead out of this folder.
"""

from __future__ import annotations

import re
from typing import Any

from city_chain import __version__

REPOSITORY = "https://github.com/city-chain/city-chain/tree/main/"

project = "city-chain"
author = "the authors of city-chain"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
default_role = "code"  # a name in single backticks is code here
html_theme = "furo"
html_title = f"city-chain {release}"

myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": True}
napoleon_numpy_docstring = False


def linked_pages(text: str) -> list[str]:
    """The pages of this folder that a page links to, in order, each once."""
    targets = re.findall(r"\]\(([\w/-]+)\.(?:md|rst)\)", text)
    return list(dict.fromkeys(targets))


def complete(_app: Any, page: str, source: list[str]) -> None:
    """Adds the tree of pages to an index, and whole addresses to links that lead out of this folder."""
    source[0] = re.sub(r"\]\((?:\.\./)+(?!\w+\.md\))([^)]+)\)", rf"]({REPOSITORY}\1)", source[0])
    source[0] = re.sub(r"\]\(\.\./(README|CHANGELOG)\.md\)", rf"]({REPOSITORY}\1.md)", source[0])
    if page in {"index", "algorithms"}:
        pages = linked_pages(source[0]) if page == "index" else sorted(linked_pages(source[0]))
        source[0] += "\n".join(["", "```{toctree}", ":hidden:", "", *pages, "```", ""])


def setup(app: Any) -> None:
    """Hooks `complete` into Sphinx."""
    app.connect("source-read", complete)
