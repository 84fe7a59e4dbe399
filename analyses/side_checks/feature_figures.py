"""The figures of gradient steps on learned features."""

from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mesascope.analyses.claim import Figure
from mesascope.analyses.plots import DASHES, NEUTRAL, PALETTE, styled, with_band

if TYPE_CHECKING:
    from mesascope.analyses.side_checks.learned_features import Curves, LearnedFeatures

DRAWN_AS = (*DASHES, "longdash")
GRID = "rgba(128,128,128,.25)"


def draw(result: "LearnedFeatures") -> tuple[Figure, ...]:
    """Losses and differences, and the curves where x is a number."""
    figures = [_bars(result)]
    return tuple(figures) if result.curves is None else (*figures, _curves(result.curves))


def _bars(result: "LearnedFeatures") -> Figure:
    found = {"first guess": result.start} | {step.name: step.agreement for step in result.steps}
    if result.frozen is not None:
        found["frozen twin"] = result.frozen
    series = {
        "its loss (predicting zero is 1)": [agreement.other_loss for agreement in found.values()],
        "its difference from the model's predictions": [agreement.difference for agreement in found.values()],
    }
    plot = with_band(list(found), series, "relative to y")
    plot.add_hline(
        y=result.start.loss.value,
        line={"dash": "dash", "color": NEUTRAL, "width": 1.5},
        annotation={"text": "the model's loss", "font": {"color": NEUTRAL}},
    )
    plot.update_yaxes(rangemode="tozero")
    return Figure(
        "learned-features-steps",
        "A gradient step on learned features, read in three ways",
        "What the layers before attention make of a token are the features on which one gradient step is taken, with "
        "its best step size. Circles are the loss of each reading, to be held against the model's (dashed); squares "
        "are how far its predictions are from the model's, in units of y (root mean square); bars are 95% intervals. "
        "The first guess looks at no example. <em>Tokens as they are</em>: y is the token's y-slot. <em>From the "
        "start</em>: the features are those of x alone, and the step starts from the first guess. "
        "<em>Preconditioned</em>: the same, between features the layer's own W_QK. The frozen twin was trained with a "
        "gradient step in place of attention.",
        plot,
        equation="ŷ = ŷ₀ + (η/n) Σ (yᵢ − ŷ₀(xᵢ)) φ(xᵢ)ᵀφ(x)",
        source="von Oswald et al. (2023), section 4, for the frozen twin; the other readings are ours",
    )


def _curves(curves: "Curves") -> Figure:
    n = len(curves.context)
    plot = make_subplots(1, n, shared_yaxes=True, horizontal_spacing=0.03)
    for col in range(1, n + 1):
        place, first = {"row": 1, "col": col}, col == 1
        for index, (name, preds) in enumerate(curves.preds.items()):
            line = {"color": PALETTE[index % 8], "dash": DRAWN_AS[index % 5], "width": 2.5 if index == 0 else 1.5}
            values = {"x": curves.x.tolist(), "y": preds[col - 1].tolist()}
            plot.add_scatter(**values, name=name, legendgroup=name, showlegend=first, mode="lines", line=line, **place)
        plot.add_scatter(
            x=curves.context.xs[col - 1, :-1, 0].tolist(),
            y=curves.context.ys[col - 1, :-1].tolist(),
            name="examples",
            legendgroup="examples",
            showlegend=first,
            mode="markers",
            marker={"color": NEUTRAL, "size": 7},
            **place,
        )
    styled(plot, "", "")
    plot.update_xaxes(title_text="x of the query", gridcolor=GRID, zeroline=False)
    plot.update_yaxes(gridcolor=GRID, zeroline=False)
    plot.update_yaxes(title_text="y", row=1, col=1)
    return Figure(
        "learned-features-curves",
        "What is predicted for every query",
        f"{n} prompts, one a panel: their examples, and what the model and each reading of a gradient step predict for "
        "a query anywhere. A reading that is what the model does lies on its thick line, between the examples too.",
        go.Figure(plot),
        equation="ŷ(x) = ŷ₀ + (η/n) Σ (yᵢ − ŷ₀(xᵢ)) φ(xᵢ)ᵀφ(x)",
        source="von Oswald et al. (2023), section 4",
    )
