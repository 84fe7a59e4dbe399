"""The figures of side checks: sensitivities, the way between both networks, shifts, and the layer iterated."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from mesascope.analyses.claim import Figure
from mesascope.analyses.plots import NEUTRAL, PALETTE, styled
from mesascope.analyses.side_checks.agreement import CONSTRUCTION, MODEL, UNTRAINED
from mesascope.analyses.side_checks.interpolation import Path
from mesascope.analyses.side_checks.iteration import N_ITERATIONS, Rollout
from mesascope.analyses.side_checks.shifted import LABELS, W_SCALE, X_SCALE, Shifted
from mesascope.probes import Estimate

if TYPE_CHECKING:
    from mesascope.analyses.side_checks.side_checks import Sensitivities, SideChecks

GRID = "rgba(128,128,128,.25)"
STYLES = {
    MODEL: {"color": PALETTE[0], "symbol": "circle", "dash": "solid", "width": 2},
    # Around the model's marks, since both often coincide.
    CONSTRUCTION: {"color": PALETTE[1], "symbol": "square-open", "dash": "dash", "width": 2},
    UNTRAINED: {"color": NEUTRAL, "symbol": "x", "dash": "dot", "width": 1.5},
}
HEADROOM = 30.0
"""How far above predicting zero losses are drawn."""
TICKS = [digit * 10.0**power for power in range(-6, 3) for digit in (1, 2, 5)]
ANGLES = 60
"""Points of a cumulative distribution."""


def draw(result: "SideChecks") -> tuple[Figure, ...]:
    """Every figure that there is something to draw in."""
    figures = [_sensitivities(result.sensitivities, result.construction)]
    if isinstance(result.path, Path):
        figures.append(_path(result.path, result.untrained_paths))
    figures.append(_shifts(result.shifts))
    if isinstance(result.rollout, Rollout):
        figures.append(_rollout(result.rollout))
    return tuple(figures)


def _sensitivities(found: "Sensitivities", construction: str) -> Figure:
    titles = ("each entry of ∂ŷ/∂x_q", "angle to the construction's, by prompt")
    plot = _panels(titles)
    n_shown = len(found.slopes[MODEL])
    across = found.slopes[CONSTRUCTION].flatten()
    ends = [across.min().item(), across.max().item()]
    plot.add_scatter(x=ends, y=ends, mode="lines", line={"color": NEUTRAL, "width": 1}, showlegend=False, row=1, col=1)
    for name in (UNTRAINED, MODEL):
        style = STYLES[name]
        plot.add_scatter(
            x=across.tolist(),
            y=found.slopes[name].flatten().tolist(),
            name=name,
            mode="markers",
            legendrank=list(STYLES).index(name),
            marker={"color": style["color"], "symbol": style["symbol"], "size": 4, "opacity": 0.7},
            row=1,
            col=1,
        )
        shares = torch.linspace(0, 1, ANGLES, dtype=torch.float64)
        angles = found.cosines[name].double().clamp(-1, 1).acos().rad2deg().quantile(shares)
        plot.add_scatter(
            x=angles.clamp(min=1e-3).tolist(),
            y=shares.tolist(),
            name=name,
            mode="lines",
            line={"color": style["color"], "dash": style["dash"], "width": 2},
            showlegend=False,
            row=1,
            col=2,
        )
    # One unit is as long on both axes; an untrained twin may lie outside.
    span = max(map(abs, ends)) * 1.15
    plot.update_yaxes(title_text="of the model", range=[-span, span], row=1, col=1)
    plot.update_xaxes(title_text="of the construction", range=[-span, span], row=1, col=1)
    ticks = [0.01, 0.1, 1.0, 10.0, 90.0]
    plot.update_xaxes(title_text="degrees", type="log", row=1, col=2)
    plot.update_xaxes(tickvals=ticks, ticktext=[f"{tick:g}°" for tick in ticks], row=1, col=2)
    plot.update_yaxes(title_text="share of prompts below", range=[0, 1.02], row=1, col=2)
    return Figure(
        "side-checks-sensitivities",
        "What a prompt makes of the query",
        "The sensitivity ∂ŷ/∂x_q is the weight vector that the model has made of a prompt's examples. Left: its "
        f"entries for {n_shown} prompts beside those of {construction} with the scalars found in the weights, which "
        "lie on the diagonal if both do the same. Right: the angle between the two vectors, over all prompts; further "
        "left is more alike. An untrained twin knows no direction, so that its angles lie around 90°.",
        plot,
        equation="∂ŷ/∂x_q, and the angle arccos of the cosine",
        source="von Oswald et al. (2023), section 3 and figure 2",
    )


def _path(path: Path, nulls: Sequence[Path]) -> Figure:
    plot = styled(go.Figure(), "share of the construction in the weights", "loss (predicting zero is 1)")
    if nulls:
        _line(plot, UNTRAINED, nulls[0].weights, nulls[0].losses, label="the way to an untrained twin")
    _line(plot, MODEL, path.weights, path.losses, label="the way to the construction", band=True)
    _zero(plot)
    _loss_axis(plot, [path.losses])
    return Figure(
        "side-checks-interpolation",
        "Loss between the model's weights and the construction's",
        "Both networks are brought to one gauge (heads summed into one, products W_QK/m and m·W_OV with m the mean "
        "diagonal of W_QK between x), mixed, and run. 0 is the model, 1 the construction; bars are 95% intervals. A "
        "flat line means that nothing lies between the two; the way to an untrained twin, mixed alike, shows what it "
        "looks like between networks that have nothing in common (it may leave the picture).",
        plot,
        shows=("side-checks.interpolation",),
        equation="loss((1 − a) θ_model + a θ_construction)",
        source="von Oswald et al. (2023), figure 2; Frankle et al. (2020), section 2",
    )


def _shifts(shifts: Sequence[Shifted]) -> Figure:
    kinds = (X_SCALE, W_SCALE, LABELS)
    plot = _panels(("x scaled", "w scaled", "labels replaced by noise"))
    for col, kind in enumerate(kinds, start=1):
        row = [shift for shift in shifts if shift.kind == kind]
        for name in (UNTRAINED, MODEL, CONSTRUCTION):
            losses = [shift.losses[name] for shift in row]
            _line(plot, name, [shift.by for shift in row], losses, place={"row": 1, "col": col}, legend=col == 1)
        _zero(plot, row=1, col=col)
        plot.update_xaxes(title_text="labels" if kind == LABELS else "factor", row=1, col=col)
    every = [[shift.losses[name] for shift in shifts] for name in (MODEL, CONSTRUCTION)]
    _loss_axis(plot, every)
    plot.update_yaxes(title_text="loss (predicting zero is 1)", row=1, col=1)
    return Figure(
        "side-checks-shifts",
        "Model and construction away from training",
        "The same prompts with x or w scaled, which a factor of 1 leaves as they are, and with some of the context's "
        "labels replaced by noise. The loss is relative to predicting zero under the same shift, the dashed line. A "
        "model that runs the construction follows it also where both fail: gradient descent overshoots when x grows, "
        "and nothing else in the data would tell a model to do the same. Losses far above predicting zero are cut off.",
        plot,
        shows=("side-checks.shifts", "side-checks.overshoot"),
        equation="E(ŷ − y)² / E y² under the shift",
        source="von Oswald et al. (2023), sections 3 and 4, and its code",
    )


def _rollout(rollout: Rollout) -> Figure:
    plot = styled(go.Figure(), "iterations of the layer", "loss (predicting zero is 1)")
    for name, losses in rollout.losses.items():
        _line(plot, name, range(N_ITERATIONS + 1), losses, every=3)
    _zero(plot)
    _loss_axis(plot, [rollout.losses[MODEL], rollout.losses[CONSTRUCTION]])
    return Figure(
        "side-checks-iteration",
        "One layer, applied again and again",
        f"The layer is applied {N_ITERATIONS} times, more often than it was trained for, and {rollout.damping:g} of "
        "what it adds is added each time. If it is a step of an algorithm, its loss keeps falling, along that of the "
        "construction. A mark stands at every third iteration.",
        plot,
        shows=("side-checks.iteration",),
        equation="h ← h + δ·layer(h)",
        source="von Oswald et al. (2023), figure 3",
    )


def _line(
    plot: go.Figure,
    name: str,
    x: Sequence[int] | Sequence[float],
    losses: Sequence[Estimate],
    *,
    label: str | None = None,
    band: bool = False,
    every: int = 1,
    place: Mapping[str, int] | None = None,
    legend: bool = True,
) -> None:
    style = STYLES[name]
    drawn = [loss.value if math.isfinite(loss.value) and loss.value > 0 else None for loss in losses]
    mark = 9 if name == CONSTRUCTION else 6
    bars = {"array": [loss.high - loss.value if math.isfinite(loss.value) else 0 for loss in losses], "thickness": 1.5}
    plot.add_scatter(
        x=list(x),
        y=drawn,
        name=label or name,
        legendgroup=name,
        showlegend=legend,
        legendrank=list(STYLES).index(name),
        mode="lines+markers",
        error_y=bars if band else None,
        line={"color": style["color"], "dash": style["dash"], "width": style["width"]},
        marker={"symbol": style["symbol"], "size": [0 if index % every else mark for index in range(len(drawn))]},
        hovertemplate="%{x:g}: %{y:.5g}",
        **(place or {}),
    )


def _zero(plot: go.Figure, **place: int) -> None:
    plot.add_hline(y=1, line={"dash": "dash", "color": NEUTRAL, "width": 1}, **place)


def _loss_axis(plot: go.Figure, series: Sequence[Sequence[Estimate]]) -> None:
    """Logarithmic, from the smallest loss to what is not far above predicting zero."""
    finite = [loss.value for losses in series for loss in losses if 0 < loss.value < math.inf]
    bottom, top = min([*finite, 1.0]), min(max([*finite, 1.0]), HEADROOM)
    margin = max(0.05 * math.log10(top / bottom), 0.05)
    span = [math.log10(bottom) - margin, math.log10(top) + margin]
    plot.update_yaxes(type="log", range=span, dtick=1, exponentformat="power")
    if span[1] - span[0] < 2:  # decades alone would leave an axis with a single number
        plot.update_yaxes(tickvals=TICKS, ticktext=[f"{tick:g}" for tick in TICKS])


def _panels(titles: Sequence[str]) -> go.Figure:
    plot = make_subplots(1, len(titles), subplot_titles=list(titles), horizontal_spacing=0.1)
    styled(plot, "", "", height=430)
    plot.update_annotations(font={"size": 13, "color": NEUTRAL})
    plot.update_layout(margin={"t": 80}, legend={"y": 1.12})
    plot.update_xaxes(gridcolor=GRID, zeroline=False, title_standoff=6)
    plot.update_yaxes(gridcolor=GRID, zeroline=False)
    return plot
