"""How the pages are built: `make docs` writes out/docs/index.html and fails on a warning or a cell that fails."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import mesascope  # noqa: E402  # after the path, as Sphinx wants its extensions there

project = "mesascope"
author = "the mesascope authors"
copyright = author
release = version = mesascope.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "api", "commands", "mathml", "messages", "plots"]
exclude_patterns = ["_ext", "_static", "curves.py"]
html_theme = "furo"
html_title = f"mesascope {release}"
html_static_path = ["_static"]
html_css_files = ["mesascope.css"]
html_math_renderer = "mathml"  # nothing is loaded from elsewhere, not even fonts or MathJax
html_copy_source = html_show_sourcelink = False
smartquotes = False  # "--out" is no dash
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"

myst_enable_extensions = ["dollarmath", "deflist", "attrs_inline"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

# Every build runs every notebook, so that a number that is no longer true fails here; `NOTEBOOKS=off` for prose alone.
nb_execution_mode = os.environ.get("NOTEBOOKS", "force")
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_output_stderr = "warn"  # what a cell complains of, the build complains of
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # from a CDN otherwise
# What the kernels see: our helpers, the program, a thread each, as notebooks run side by side, and no complaint of
# tqdm's that it would rather draw a widget.
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE / "_ext"), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
os.environ.setdefault("OMP_NUM_THREADS", "1")

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_custom_sections = ["Source"]
python_maximum_signature_line_length = 100
if nb_execution_mode == "off":
    suppress_warnings = ["myst-nb.lexer"]  # only a kernel says which language it speaks
