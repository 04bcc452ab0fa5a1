"""Sphinx configuration."""

import os
import re

# A page cannot redraw a line: progress bars show one line an epoch.
os.environ.setdefault("TQDM_MININTERVAL", "3600")

import sklearn_cnn

project = "sklearn-cnn"
author = "The sklearn-cnn developers"
copyright = "2026, The sklearn-cnn developers"
version = release = sklearn_cnn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
]
exclude_patterns = ["_build", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
nitpicky = False

autosummary_generate = True
numpydoc_show_class_members = False
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "ExampleTitleSortKey",
    "ignore_pattern": r"output",
    "abort_on_example_error": True,
    "show_memory": False,
    "download_all_examples": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "sklearn-cnn"
html_show_sourcelink = False
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}
html_sidebars = {"index": [], "api": [], "design": [], "reliability": []}


def escape_shapes(app, what, name, obj, options, lines):
    """Escape what markup would take for a link or an emphasis: ``(n_features_in_,)``, ``(n, *sample_shape)``."""
    for i, line in enumerate(lines):
        if " of shape " in line:
            lines[i] = re.sub(r"_(?=[,)])|\*(?=\w)", r"\\\g<0>", line)


def setup(app):
    app.connect("autodoc-process-docstring", escape_shapes, priority=100)  # before numpydoc, at 500
