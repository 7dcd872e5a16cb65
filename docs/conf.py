"""Builds the site: pip install -e ".[docs]", then sphinx-build -W --keep-going -j 2 docs docs/_build/html.

Without the extra torch, the tutorial on PyTorch is shown without being run.
With GENN_EVENTPROP_NOTEBOOKS=off and GENN_EVENTPROP_GALLERY=off tutorials and gallery are shown without being run.
"""

import importlib.util
import inspect
import json
import os
import re
import tempfile
from pathlib import Path

import genn_eventprop

project = "genn_eventprop"
author = copyright = "the genn_eventprop contributors"
version = release = genn_eventprop.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "reproductions/*/runs", "README.md", "gallery/*.ipynb", "gallery/*.py", "**.zip"]
nitpicky = False
default_role = "code"  # `name` in a docstring is a piece of code
highlight_language = (
    "none"  # a block that names no language is a formula or output: its "lambda" and "with" are no Python
)

# Markdown as it stands in the repository, formulas as code: a page needs no network and no script to be read
myst_heading_anchors = 3

# Tutorials are notebooks: a cell that fails fails the build.
nb_execution_mode = os.environ.get("GENN_EVENTPROP_NOTEBOOKS", "force")
NEEDS_TORCH = "tutorials/pytorch"
nb_execution_excludepatterns = [] if importlib.util.find_spec("torch") else [f"{NEEDS_TORCH}.md"]
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # a cell takes seconds, on a busy machine minutes
nb_execution_in_temp = True
nb_execution_show_tb = True
nb_merge_streams = True

# Scripts of examples/gallery run in this process; the reference shows at each entry those that use it (_templates).
sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "plot_gallery": os.environ.get("GENN_EVENTPROP_GALLERY", "on") != "off",
    "abort_on_example_error": True,
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("genn_eventprop",),
    "inspect_global_variables": False,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
}

toc_object_entries_show_parents = "hide"  # in the menu of a page, whose title has the class
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100  # longer ones: a parameter a line
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": False, "show-inheritance": True}
autodoc_mock_imports = ["pygenn", "mpi4py", "submitit", "optuna", "nir", "tonic", "torch", "jax", "brian2"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# The switcher lists these versions, newest first. The newest stands at the root of the site, each older one in a folder
# of its name. SITE is where the site is published; the list is part of it, so that no other server is asked.
VERSIONS = ("0.2.0",)
SITE = os.environ.get("GENN_EVENTPROP_SITE", "/").rstrip("/") + "/"

html_theme = "pydata_sphinx_theme"
html_title = "genn_eventprop"  # the switcher shows the version
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "switcher": {"json_url": f"{SITE}_static/switcher.json", "version_match": release},
    "check_switcher": False,  # it is written when the pages are
    "navbar_end": ["version-switcher", "theme-switcher"],  # on narrow screens they are in the drawer
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_copy_source = False
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
templates_path = ["_templates"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def escape(app, what, name, obj, options, lines: list[str]) -> None:
    """Of docstrings, which are plain text with `code`: what reStructuredText would take for markup."""
    for i, line in enumerate(lines):
        parts = re.split(r"(``.*?``|`.*?`)", line)
        lines[i] = "".join(p if p.startswith("`") else re.sub(r"([*|]|(?<=\w)_(?=\W|$))", r"\\\1", p) for p in parts)


def one_parameter_a_line(app, what, name, obj, options, lines: list[str]) -> None:
    """A line for each parameter, also where a docstring has several in one: "size: of it. name: in the network."

    Runs before napoleon, which takes all that follows the first name for its text.
    """
    try:
        names = "|".join(map(re.escape, inspect.signature(obj).parameters))
    except (TypeError, ValueError):  # nothing that is called
        return
    begin = next((i + 1 for i, line in enumerate(lines) if line.strip() == "Args:"), len(lines))
    end = next((i for i in range(begin, len(lines)) if not lines[i].strip()), len(lines))
    if not names or begin == end:
        return
    indent = re.match(" *", lines[begin])[0]
    parameter, written = re.compile(rf"(?:{names})(?:, (?:{names}))*: "), []
    for line in lines[begin:end]:
        # a parameter begins after a full stop, which may end the line before
        ended = not written or written[-1].endswith(".")
        if ended and parameter.match(line.strip()):
            line = indent + line.strip()
        first, *others = re.split(rf"(?<=\.) (?={parameter.pattern})", line)
        written += [first, *(indent + other for other in others)]
    lines[begin:end] = written


NOT_RUN = """
```{note}
Results are missing: this page was built without PyTorch.
```
"""


def draw_in_one_style(app, config) -> None:
    """Tutorials and gallery draw as the package does, but for the grid, which would lie on images.

    Kernels of the tutorials read the file; before every script the gallery is reset to matplotlib's defaults.
    """
    import matplotlib

    from genn_eventprop.report.plots.style import CLASS_COLOURS, RC

    colours = [colour.lstrip("#") for colour in CLASS_COLOURS]  # in the file, # begins a comment
    look = RC | {"axes.grid": False, "axes.prop_cycle": f"cycler('color', {colours})"}
    file = Path(tempfile.mkdtemp(prefix="genn_eventprop-docs-")) / "matplotlibrc"
    file.write_text("".join(f"{name}: {str(value).lstrip('#')}\n" for name, value in look.items()))
    os.environ["MATPLOTLIBRC"] = str(file)
    matplotlib.rcParamsDefault.update(matplotlib.rc_params_from_file(str(file), use_default_template=False))


def note_what_was_not_run(app, page: str, source: list[str]) -> None:
    """Below the title of the tutorial on PyTorch, where torch is not installed."""
    if page == NEEDS_TORCH and nb_execution_excludepatterns:
        source[0] = re.sub(r"^# .*\n", lambda title: title[0] + NOT_RUN, source[0], count=1, flags=re.MULTILINE)


def plus_minus(app, page: str, source: list[str]) -> None:
    """Pages are plain text, also for a terminal; the site has the sign."""
    source[0] = re.sub(r"(?<=[\d%]) \+- (?=\d)", "\N{NO-BREAK SPACE}\N{PLUS-MINUS SIGN}\N{NO-BREAK SPACE}", source[0])


def write_switcher(app, error) -> None:
    """_static/switcher.json: name and address of every version."""
    if error is None and app.builder.format == "html":
        newest, *older = VERSIONS
        addresses = {newest: SITE} | {version: f"{SITE}{version}/" for version in older}
        entries = [{"name": v, "version": v, "url": url, "preferred": v == newest} for v, url in addresses.items()]
        (Path(app.outdir) / "_static" / "switcher.json").write_text(json.dumps(entries, indent=1))


def setup(app) -> None:
    app.connect("config-inited", draw_in_one_style)
    app.connect("autodoc-process-docstring", one_parameter_a_line, priority=400)
    app.connect("autodoc-process-docstring", escape)
    app.connect("source-read", note_what_was_not_run)
    app.connect("source-read", plus_minus)
    app.connect("build-finished", write_switcher)
