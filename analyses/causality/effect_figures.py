"""Direct and total effects of components, and what readouts depend on which layers."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mesascope.analyses.causality.effects import Dependence, Effects
from mesascope.analyses.claim import Figure
from mesascope.analyses.plots import NEUTRAL, PALETTE, heatmap, log_axis, styled
from mesascope.probes import Estimate


def draw_effects(effects: Effects | None) -> tuple[Figure, ...]:
    """Nothing of an LSTM, which has neither heads nor MLPs."""
    if effects is None:
        return ()
    return (_components(effects), *(_dependence(found, effects) for found in effects.dependences))


def _components(effects: Effects) -> Figure:
    plot = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for kind, colour in (("read-in", PALETTE[4]), ("head", PALETTE[0]), ("MLP", PALETTE[1])):
        found = [e for e in effects.components if kind in (e.label, _kind(e.head))]
        if not found:
            continue
        labels = [effect.label for effect in found]
        shares = [effect.share for effect in found if effect.share is not None]
        if shares:
            plot.add_trace(_bars(labels, shares, kind, colour), row=1, col=1)
        ablated = [(effect.label, effect.loss) for effect in found if effect.loss is not None]
        if ablated:
            names, losses = zip(*ablated, strict=True)
            plot.add_trace(_markers(list(names), list(losses), kind, colour), row=2, col=1)
    plot.add_hline(y=effects.loss.value, line={"dash": "dash", "color": NEUTRAL, "width": 1.5}, row=2, col=1)
    styled(plot, "", "", height=560).update_layout(barmode="overlay")
    plot.update_xaxes(
        gridcolor="rgba(128,128,128,.25)",
        tickangle=-90 if len(effects.components) > 12 else 0,
        categoryorder="array",
        categoryarray=[effect.label for effect in effects.components],
    )
    plot.update_yaxes(title="share of Var(ŷ)", gridcolor="rgba(128,128,128,.25)", row=1)
    losses_drawn = [effect.loss.value for effect in effects.components if effect.loss is not None]
    axis = log_axis(go.Figure(), [[effects.loss.value, 1.0, *losses_drawn]]).layout.yaxis.to_plotly_json()
    plot.update_yaxes(
        title="loss without it / E y²", gridcolor="rgba(128,128,128,.25)", row=2, tickfont={"size": 12}, **axis
    )
    return Figure(
        "causality-components",
        "What each head and MLP adds to the prediction",
        "Above, the direct effect: what a component writes along the read-out's direction u at the query, divided by "
        "the scale of the final norm on that prompt, as a share of the prediction's variance. All shares, biases "
        "included, add up to 1. Below, the total effect: the squared error with "
        "the component held at its mean over prompts, at all positions, over E y²; the dashed line is the whole model, "
        "and 1 is a model that predicts zero. A component with much below and nothing above works through others. "
        "Losses past 1 rank components and are no shares. Bars are 95% intervals (delete-a-block jackknife over "
        "prompts).",
        plot,
        shows=("causality.direct", "causality.ablation"),
        equation="Cov(z<sub>c</sub> W_O u / σ, ŷ) / Var(ŷ); E (y − ŷ<sub>c held at E c</sub>)² / E y²",
        source="Elhage et al. (2021) for direct effects; departure: of the variance of a number, not of logits",
    )


def _kind(head: int | None) -> str:
    return "MLP" if head is None else "head"


def _error(estimates: list[Estimate]) -> dict[str, object]:
    return {
        "array": [estimate.high - estimate.value for estimate in estimates],
        "arrayminus": [estimate.value - estimate.low for estimate in estimates],
        "thickness": 1.5,
        "width": 2,
        "color": NEUTRAL,
    }


def _bars(labels: list[str], shares: list[Estimate], kind: str, colour: str) -> go.Bar:
    return go.Bar(
        x=labels,
        y=[share.value for share in shares],
        error_y=_error(shares),
        customdata=[share.ci for share in shares],
        hovertemplate="%{x}: %{y:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}]",
        marker={"color": colour},
        name=kind,
        legendgroup=kind,
    )


def _markers(labels: list[str], losses: list[Estimate], kind: str, colour: str) -> go.Scatter:
    return go.Scatter(
        x=labels,
        y=[loss.value for loss in losses],
        error_y=_error(losses),
        customdata=[loss.ci for loss in losses],
        hovertemplate="%{x}: %{y:.4g} [%{customdata[0]:.4g}, %{customdata[1]:.4g}]",
        mode="markers",
        marker={"color": colour, "symbol": "circle" if kind == "head" else "square", "size": 8},
        name=kind,
        legendgroup=kind,
        showlegend=False,
    )


def _dependence(found: Dependence, effects: Effects) -> Figure:
    layers = [f"layer {index + 1}" for index in range(len(found.intact))]
    held = [f"{layer} (loss {loss.value:.2g})" for layer, loss in zip(layers, effects.layers, strict=True)]
    rows = [[r2.value for r2 in row] for row in (*reversed(found.ablated), found.intact)]
    plot = heatmap(
        layers, [*reversed(held), f"none (loss {effects.loss.value:.2g})"], rows, "readout of", "R²", text=True
    )
    where = "the query" if found.site == "query" else f"the {found.site}"
    return Figure(
        f"causality-dependence-{found.variable}",
        f"Which layers the readouts of {found.variable} depend on",
        f"Each row holds all heads and MLPs of one layer at their mean over prompts; each cell is the R² with which "
        f"{found.variable} is then read at {where} behind the layer below it, by a readout fitted anew. The top row is "
        "the whole model. A column that falls says that what is read there came through the layer of that row; one "
        "that recovers, that other layers make up for it. Beside each row, the squared error over E y².",
        plot,
        equation="R² = 1 − Σ (v − Wᵀh<sub>l</sub> − c)² / Σ (v − v̄)²",
        source="ours",
    )
