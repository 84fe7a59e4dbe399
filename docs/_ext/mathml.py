"""Equations as MathML, converted while building: a page needs no script and loads nothing to show them."""

from docutils import nodes
from docutils.utils.math import pick_math_environment
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    """An equation in a line."""
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """An equation of its own."""
    tex = node.astext()
    if pick_math_environment(tex) == "align*":  # several lines, or columns to align
        tex = f"\\begin{{align*}}{tex}\\end{{align*}}"
    self.body.append(f'<div class="math">{tex2mathml(tex, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
