"""Every message of a `MesascopeError`, read from the code and sorted by cause: what the pages in errors/ list."""

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
FOLDERS = ("models", "probes", "analyses", "src/mesascope/cli")


@dataclass(frozen=True)
class Message:
    """One place that refuses something."""

    path: str
    line: int
    text: str
    """With ‹…› where the offending value stands."""


@dataclass(frozen=True)
class Cause:
    """Why something is refused: a page of its own."""

    page: str
    text: str = ""
    """What the message matches."""
    path: str = ""
    """What its file matches."""

    def explains(self, message: Message) -> bool:
        """Whether a message is of this cause."""
        return bool(re.search(self.text, message.text) and re.search(self.path, message.path))


CAUSES = (
    Cause("cannot-write", r"^cannot write "),
    Cause("packages-and-devices", r"kaleido|Chromium|submitit|cluster here|takes no jobs"),
    Cause("too-few-prompts", r"n_prompts=|n_scored=|n_tune=|queries determine"),
    Cause("unknown-name", r"; did you mean"),
    Cause("not-finite", r"NaN|infinit(e|y)\b(?!.*one for each)|beyond all numbers", r"^(analyses|probes)/|checkpoint"),
    Cause("scale-of-w", r"w_std"),
    Cause("not-found", path=r"formats/(registry|zoo|hub)|sweep/addresses"),
    Cause("plain-matrices", path=r"formats/matri"),
    Cause("broken-file", path=r"formats/|foreign_files"),
    Cause("training", path=r"models/training/(?!tracking)"),
    Cause("packages-and-devices", path=r"training/tracking|devices"),
    Cause("construction-arguments", path=r"models/constructions|spline_filter"),
    Cause(
        "predictor", r"predicted a|predicts y at point|cannot attach|\bno layers to probe|failed on prompts|device=‹"
    ),
    Cause("no-construction", path=r"analyses/(matching/matching|side_checks)"),
    Cause("no-such-part", r"attention|tokens of this model|read-in|differentiated|hook|d_out=1|joint"),
    Cause(
        "task", path=r"models/(tasks|inputs|spectra|suites|learners)|analyses/(fitting|spectral|causality)|exponents"
    ),
    Cause("task", r"task|n_dims|n_points|prompts|queries|points|point=|\bys have"),
    Cause("analysis", path=r"analyses/|cli/"),
)
"""The first that explains a message has it."""


@lru_cache(maxsize=1)
def messages() -> tuple[Message, ...]:
    """Every message, in the order of the files."""
    found = []
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "MesascopeError":
                where = path.relative_to(ROOT).as_posix()
                found.append(Message(where, node.lineno, _template(node.args[0])))
    return tuple(found)


def _template(node: ast.expr) -> str:
    """A message with ‹what stands in its holes›."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        inner = ast.unparse(node.value)
        return "; did you mean ‹the nearest›?" if inner.startswith("nearest(") else f"‹{inner}›"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    return f"‹{ast.unparse(node)}›"


def cause_of(message: Message) -> str | None:
    """The page that explains a message."""
    return next((cause.page for cause in CAUSES if cause.explains(message)), None)


class Messages(SphinxDirective):
    """Every message of the page on which it stands."""

    def run(self) -> list[nodes.Node]:
        """A list, each message with the file that it comes from."""
        page = self.env.docname.rpartition("/")[2]
        items = nodes.bullet_list()
        for message in messages():
            if cause_of(message) == page:
                said = nodes.paragraph("", "", nodes.literal(text=message.text), nodes.Text(f" ({message.path})"))
                items += nodes.list_item("", said)
        return [items]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("messages", Messages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
