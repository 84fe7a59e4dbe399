"""What a sweep found, checkpoint by checkpoint."""

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from mesascope.analyses.claim import Claim, Figure
from mesascope.analyses.plots import NEUTRAL, PALETTE, SYMBOLS, literal, styled
from mesascope.analyses.registry import ANALYSES
from mesascope.analyses.sweep.row import Row

if TYPE_CHECKING:
    from mesascope.analyses.sweep.sweep import Sweep

NAMED = 60
"""Most checkpoints whose names stand at the axis; of more, hovering tells."""
ROW, MARGINS = 22, 170
"""Pixels for each checkpoint, and around them."""


def draw(sweep: "Sweep") -> tuple[Figure, ...]:
    """One figure for each analysis whose first claim is a number."""
    return tuple(figure for name in sweep.settings.analyses if (figure := _values(sweep, name)))


def _values(sweep: "Sweep", name: str) -> Figure | None:
    own_rows = [row for row in sweep.rows if row.copy_of is None]
    found = [(row, claim) for row in own_rows if (claim := row.first(name)) and claim.value is not None]
    if not found:
        return None
    few = len(found) <= NAMED
    found.sort(key=lambda pair: pair[1].value or 0.0)
    place = {row.source: index for index, (row, _) in enumerate(found)}
    plot, counts = go.Figure(), sweep.verdicts(name)
    for index, (verdict, count) in enumerate(counts.most_common()):
        own = [(row, claim) for row, claim in found if claim.verdict == verdict]
        if own:
            _points(plot, literal(f"{verdict} ({count})"), own, place, index, few)
    styled(plot, f"{name}: number of the first claim", "", height=MARGINS + (ROW * len(found) if few else 600))
    # Also where they are too many to be read: tables and arrow keys tell which point is which by them.
    names = {"tickvals": list(place.values()), "ticktext": list(map(literal, place))}
    plot.update_yaxes(**names, showticklabels=few, showgrid=few, automargin=True)
    plot.update_layout(showlegend=True)
    about = "" if name not in ANALYSES else f" What the number is, a report of one checkpoint says under {name}."
    return Figure(
        f"sweep-{name}",
        f"Checkpoints by {name}",
        f"Each row is a checkpoint with the number of its first claim by {name} and the 95% interval over prompts, "
        "sorted. Colour and shape are the verdict, with how many have it. Copies are counted, but drawn once; what "
        "could not be measured is not drawn."
        f"{about}",
        plot,
        shows=(f"sweep.{name}",),
        equation="the number of the first claim",
        source=f"that of {name}, in a report of one checkpoint",
    )


def _points(
    plot: go.Figure, name: str, found: list[tuple[Row, Claim]], place: dict[str, int], index: int, few: bool
) -> None:
    values = [claim.value or 0.0 for _, claim in found]
    cis = [claim.ci or (value, value) for (_, claim), value in zip(found, values, strict=True)]
    plot.add_scatter(
        x=values,
        y=[place[row.source] for row, _ in found],
        error_x={
            "array": [high - value for (_, high), value in zip(cis, values, strict=True)],
            "arrayminus": [value - low for (low, _), value in zip(cis, values, strict=True)],
            "thickness": 1.5 if few else 0.5,
            "width": None if few else 0,  # caps of a thousand would be a wall
        },
        customdata=[
            [literal(row.source), *ci, literal(claim.text)] for (row, claim), ci in zip(found, cis, strict=True)
        ],
        hovertemplate="%{customdata[0]}: %{x:.5g} [%{customdata[1]:.5g}, %{customdata[2]:.5g}]<br>%{customdata[3]}",
        name=name,
        mode="markers",
        # The rarer verdicts share the neutral colour, and are told apart by shape and on hovering.
        marker={
            "color": PALETTE[index] if index < 8 else NEUTRAL,
            "symbol": SYMBOLS[index % 8],
            "size": 9 if few else 4,
        },
    )
