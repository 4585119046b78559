# SPDX-License-Identifier: MIT
"""Sphinx configuration: the .md files of this directory and reference.rst, whose text is the docstrings.

Build with `tools/check docs`, which has Sphinx in a virtual environment and takes warnings for errors.
"""

import re

import stackless

project = "stackless-mn"
author = copyright = "the stackless-mn authors"
version = release = stackless.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"stackless-mn {version}"
html_copy_source = False
highlight_language = "text"     # of blocks that do not say
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]  # a page may begin its sections at any level

autodoc_member_order = "groupwise"
autodoc_typehints = "none"
# Results that the first lines of docstrings name are words, and types elsewhere are the standard library's.
nitpick_ignore_regex = [("py:class", r"(?!stackless\.).*")]



def _repository_links(app, docname, source):
    """What is a link on the pages of the repository, but not here."""
    source[0] = source[0].replace("](../bench/README.md)", "](benchmarks.md)")
    if docname == "examples":   # the programs themselves below the list
        for path in re.findall(r"\]\((\S+\.py)\)", source[0]):
            name = path.rpartition("/")[2]
            source[0] += f"\n## {name}\n\n```{{literalinclude}} {path}\n:language: python\n```\n"


def _as_plain_text(app, what, name, obj, options, lines):
    """Docstrings are plain text: nothing in them is markup, an indented part is code."""
    text = []
    for number, line in enumerate(lines):
        if line.startswith("    ") and number and not lines[number - 1].strip():
            text += ["::", ""]
        text.append(line if line.startswith("    ") else re.sub(r"([*`|\\]|(?<=\w)_(?!\w))", r"\\\1", line))
    lines[:] = text


def _signature(app, what, name, obj, options, signature, result):
    # "-> value" is a word, but would become a link to something of that name.
    return signature, None if result in ("value", "result") else result


def setup(app):
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _as_plain_text)
    app.connect("source-read", _repository_links)
