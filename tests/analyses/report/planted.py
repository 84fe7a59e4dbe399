"""A result that no model stands behind, to see what a page makes of it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import plotly.graph_objects as go

from mesascope.analyses.claim import Claim, Figure, Result
from mesascope.analyses.plots import heatmap, layer_lines, with_band
from mesascope.analyses.report.page import Found, render
from mesascope.probes import Estimate

N_CLAIMS = 20
BAND = {"readout": [Estimate(0.5, 0.25, 0.75)] * 2, "null, shuffled": [Estimate(0.0, -0.125, 1 / 3)] * 2}


@dataclass(frozen=True)
class Planted(Result):
    """A result with more claims than a page shows at once; one figure says what it shows."""

    name: ClassVar[str] = "planted"
    title: ClassVar[str] = "A planted section"
    question: ClassVar[str] = "Is it linked?"

    hostile: str = ""
    n_figures: int = 4

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Numbered."""
        return tuple(Claim(f"planted.{i}", f"Claim {i}{self.hostile}.", 0.0, None, 0.0, "so") for i in range(N_CLAIMS))

    def figures(self) -> tuple[Figure, ...]:
        """The second shows claims 10 to 19."""
        lines = layer_lines([1, 2], {f"layer {i}": [1.0, 0.1**i] for i in range(6)}, {"null": [1.0, 1.0]}, "t", "loss")
        cells = heatmap([1, 2], ["a", "b"], [[0.1, 0.2], [0.3, 0.4]], "t", "R²", text=True)
        cells.add_heatmap(z=[[0.4, 0.3], [0.2, 0.1]], visible=False, showscale=False)
        buttons = [
            {"label": "as it is", "args": [{"visible": [True, False]}]},
            {"label": "turned", "args": [{"visible": [False, True]}, {"xaxis.title.text": "turned t"}]},
        ]
        cells.update_layout(updatemenus=[{"buttons": buttons}])
        table = go.Table(header={"values": ["head", "score"]}, cells={"values": [["L1H0", "L1H1"], [0.5, 0.25]]})
        drawn = [
            Figure("first", f"First{self.hostile}", "A <b>guide</b> of a < b.", with_band(["a", "b"], BAND, "R²")),
            Figure("second one", "Second", "Read it.", lines, ("planted.1?",), "y = x<sup>2</sup>", "Us (2026)"),
            Figure("third", "Third", "Cells.", cells),
            Figure("fourth", "Fourth", "A table.", go.Figure(table)),
        ]
        return tuple(drawn[: self.n_figures])


def planted_html(warnings: tuple[str, ...] = (), **changes: Any) -> str:
    """The page of such a result alone."""
    result = Planted(**changes)
    content = {
        "checkpoint": "planted",
        "model": {},
        "task": {"name": "planted", "n_dims": 1, "n_points": 2},
        "seed": 0,
        "n_prompts": 40,
        "device": "cpu",
        "version": "0",
        "torch": "2",
        "command": "",
        "verdict": [],
        "warnings": list(warnings),
        "analyses": {"planted": result.to_json()},
        "left_out": {"deaf": "ears"},
        "failed": {"broken": "it broke"},
    }
    return render(content, {"planted": Found.of(result)})
