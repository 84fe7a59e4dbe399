"""The three readings of each layer, drawn."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from mesascope.analyses.claim import Figure, fixed
from mesascope.analyses.curvature.layer import EXPLAINED, LayerCurvature
from mesascope.analyses.curvature.spectra import N_PROMPTS, Spectra
from mesascope.analyses.plots import NEUTRAL, PALETTE, layer_lines, styled, with_band
from mesascope.probes import Estimate, prediction_interval

if TYPE_CHECKING:
    from mesascope.analyses.curvature.curvature import Curvature

COLUMNS, PANEL = 3, 300
"""Panels in a row, and their height."""
N_DRAWN = 600
"""Most eigenvalues that are drawn in a panel."""


def draw(result: "Curvature") -> tuple[Figure, ...]:
    """All figures that there is something to draw for."""
    layers = [layer for layer in result.read if not layer.negligible]
    if not layers:
        return ()
    figures = [_gammas(layers, result.n_prompts), _shares(layers), _spectra(layers), _maps(layers)]
    ablated = [layer for layer in layers if layer.ablation is not None]
    return (*figures, *([_losses(ablated, result.n_scored)] if ablated else []))


def _gammas(layers: Sequence[LayerCurvature], n_prompts: int) -> Figure:
    series: dict[str, Sequence[Estimate]] = {}
    if all(layer.weights is not None for layer in layers):
        series["by the weights"] = [layer.weights for layer in layers if layer.weights is not None]
    series["by the activations"] = [layer.update.gamma for layer in layers if layer.update is not None]
    if all(len(layer.untrained_gamma) > 1 for layer in layers):
        series["untrained twins"] = [prediction_interval(torch.tensor(layer.untrained_gamma)) for layer in layers]
    plot = _by_layer(layers, series, "γ")
    return Figure(
        "curvature-gamma",
        "γ of each layer, read in two ways",
        "How far each layer corrects the curvature of its data, x ← x − γSx with S = Σ x xᵀ/n over the n points of "
        "context. By the weights: γ of the member of GD++ that is nearest to the layer's operator, with the 95% "
        "interval from leaving out one coordinate of x at a time. By the activations: the slope of the layer's change "
        f"of x against −Sx over {n_prompts:,} prompts (delete-a-block jackknife). They see different things, one no "
        "prompt and the other no weight; where a layer is GD++ they are one number, and where it is not the slope "
        "means little. Untrained twins, by their activations: mean, and the interval in which one more would fall.",
        plot,
        equation="Δx = −γSx, S = Σxxᵀ/n",
        source="von Oswald et al. (2023), section 3 and appendix A.10, for GD++; the tests of it are ours",
    )


def _shares(layers: Sequence[LayerCurvature]) -> Figure:
    updates = [layer.update for layer in layers if layer.update is not None]
    series = {"this prompt's S": [u.r2 for u in updates], "another prompt's S": [u.shuffled for u in updates]}
    plot = _by_layer(layers, series, "R²")
    for index, layer in enumerate(layers):
        plot.add_scatter(
            x=[index] * len(layer.untrained_r2),
            y=list(layer.untrained_r2),
            name="untrained twins",
            mode="markers",
            marker={"color": PALETTE[2], "symbol": "diamond-open", "size": 8},
            showlegend=index == 0,
        )
    plot.add_hline(y=EXPLAINED, line={"dash": "dash", "color": NEUTRAL, "width": 1.5})
    plot.update_yaxes(range=[-0.05, 1.06])
    return Figure(
        "curvature-r2",
        "How much of each layer's change of x is −γSx",
        "The share of the squared change of the context's x that one γ for all prompts explains, with 95% intervals. "
        f"GD++ needs {EXPLAINED:g} (dashed) and more than both nulls. Another prompt's S explains much by itself where "
        "all prompts' S are alike, as they become once earlier layers have evened out their eigenvalues: there a high "
        "R² says little unless it is higher still. Untrained twins, one marker each, are the share in random weights.",
        plot,
        shows=("curvature.model",),
        equation="R² = 1 − Σ‖Δx + γSx‖² / Σ‖Δx‖²",
        source="the measure is ours",
    )


def _by_layer(layers: Sequence[LayerCurvature], series: Mapping[str, Sequence[Estimate]], y_title: str) -> go.Figure:
    """Estimates side by side, those of one layer not at the ends of the axis."""
    plot = with_band([layer.label for layer in layers], series, y_title)
    return plot.update_xaxes(range=[-0.75, len(layers) - 0.25])


def _log_axis(plot: go.Figure, values: Sequence[float]) -> None:
    """A logarithmic axis over all values, be it a factor of two or of 10²³."""
    ends = [math.log10(value) for value in values if value > 0] or [0.0]
    low, high = min(ends), max(ends)
    ticks = "D2" if high - low < 2.5 else math.ceil((high - low) / 8)
    plot.update_yaxes(type="log", range=[low - 0.1, high + 0.1], dtick=ticks)
    plot.update_yaxes(exponentformat="none" if ticks == "D2" else "power")


def _spectra(layers: Sequence[LayerCurvature]) -> Figure:
    found = [(layer, layer.spectra) for layer in layers if layer.spectra is not None]
    lines, conditions = {}, []
    for index, (layer, spectra) in enumerate(found):
        stages = [("before ", False)] * (index == 0) + [("after ", True)]
        for where, behind in stages:
            condition = spectra.condition(behind)[1]
            conditions.append(condition)
            lines[f"{where}{layer.label} (condition {condition:.3g})"] = spectra.quantiles(behind)
    n_dims = len(next(iter(lines.values()))[0])
    medians = {name: quantiles[1] for name, quantiles in lines.items()}
    plot = layer_lines(list(range(1, n_dims + 1)), medians, {}, "eigenvalue, the largest first", "eigenvalue of S")
    for trace, (low, middle, high) in zip(plot.data, lines.values(), strict=True):
        ends = np.array([low, middle, high])
        trace.update(error_y={"array": ends[2] - ends[1], "arrayminus": ends[1] - ends[0], "thickness": 1, "width": 3})
    _log_axis(plot, [value for quantiles in lines.values() for row in quantiles for value in row])
    plot.update_xaxes(dtick=1 if n_dims <= 20 else None)
    falls = "falls" if conditions[-1] < conditions[0] else "rises"
    return Figure(
        "curvature-spectrum",
        "Eigenvalues of the tokens' covariance, layer by layer",
        f"Eigenvalues of S = Σ x xᵀ/n over the context's tokens of a prompt: the median of {N_PROMPTS} prompts, and "
        "bars from the 5% to the 95% quantile. GD++ shrinks each by (1 − γλ)², the large ones the most. The condition "
        f"number is λ_max/λ_min of the median prompt; from the first to the last line it {falls}. <b>By itself it is "
        "no test</b>: in an exact GD++ model it may rise, because an eigenvalue near 1/γ is all but removed while "
        "smaller ones stay, and in a model that is not GD++ it may fall.",
        plot,
        equation="λ of S = Σxxᵀ/n",
        source="the measure is ours",
    )


def _maps(layers: Sequence[LayerCurvature]) -> Figure:
    found = [(layer, layer.spectra) for layer in layers if layer.spectra is not None]
    rows = -(-len(found) // COLUMNS)
    plot = make_subplots(
        rows,
        min(COLUMNS, len(found)),
        subplot_titles=[layer.label for layer, _ in found],
        vertical_spacing=0.25 / rows,
        horizontal_spacing=0.09,
    )
    for index, (layer, spectra) in enumerate(found):
        _add_map(plot, layer, spectra, {"row": index // COLUMNS + 1, "col": index % COLUMNS + 1}, first=index == 0)
    styled(plot, "", "", height=110 + PANEL * rows)
    plot.update_layout(margin={"t": 60}, legend={"y": 1 + 35 / (PANEL * rows)})
    plot.update_xaxes(title_text="λ before", zeroline=False, rangemode="tozero")
    plot.update_yaxes(zeroline=False, rangemode="tozero")
    plot.update_yaxes(title_text="uᵀSu after", col=1)
    return Figure(
        "curvature-map",
        "What becomes of each eigenvalue",
        "Each point is an eigenvector u of S before a layer: its eigenvalue λ there, and uᵀSu where the layer has "
        "written. GD++ moves every one to λ(1 − γλ)² (line, with γ by the activations), whatever the prompt. The curve "
        "touches zero at λ = 1/γ, so that eigenvalues there end up smaller than ones that were smaller before.",
        plot,
        equation="uᵀS′u against λ, Su = λu; of GD++ λ(1 − γλ)²",
        source="the measure is ours",
    )


def _add_map(plot: go.Figure, layer: LayerCurvature, spectra: Spectra, place: dict[str, int], first: bool) -> None:
    before, along = (part.flatten()[:N_DRAWN].numpy() for part in (spectra.before, spectra.along))
    plot.add_scatter(
        x=before,
        y=along,
        name="an eigenvector",
        mode="markers",
        marker={"color": PALETTE[0], "size": 4, "opacity": 0.5},
        showlegend=first,
        **place,
    )
    assert layer.update is not None
    grid = np.linspace(0, before.max(), 100)
    plot.add_scatter(
        x=grid,
        y=grid * (1 - layer.update.gamma.value * grid) ** 2,
        name="λ(1 − γλ)²",
        mode="lines",
        line={"color": PALETTE[1], "width": 2},
        showlegend=first,
        **place,
    )


def _losses(layers: Sequence[LayerCurvature], n_scored: int) -> Figure:
    found = [layer.ablation for layer in layers if layer.ablation is not None]
    series = {
        "typical prompt": [a.typical for a in found],
        "predicted": [a.typical_predicted for a in found],
        "mean loss": [a.mean for a in found],
        "predicted mean": [a.mean_predicted for a in found],
    }
    plot = _by_layer(layers, series, "loss without it, relative to with it")
    _log_axis(plot, [1.0, *(end for estimates in series.values() for e in estimates for end in (e.value, e.high))])
    plot.add_hline(y=1, line={"dash": "dash", "color": NEUTRAL, "width": 1.5})
    shares = ", ".join(f"{layer.label}: {fixed(layer.ablation.share.value)}" for layer in layers if layer.ablation)
    return Figure(
        "curvature-loss",
        "The loss when a layer leaves x alone",
        "The layer's update of x is set to zero at all tokens, the query too, and the rest of the model runs on. "
        "Predicted is the same of GD++: every layer whose weights are near it is replaced by its nearest member, with "
        "this γ zero against with it. "
        f"Factors on the loss of {n_scored:,} prompts that nothing else was measured on, with 95% intervals; at 1 "
        "(dashed) nothing depends on the update. The typical prompt is the geometric mean. Where later steps diverge "
        "on the spectrum that is left uncorrected, a few prompts are all of the mean, and a percent between model and "
        "GD++ becomes a percent of the exponent: readings agree if the logarithms of the typical factors are within "
        f"10% ({shares}).",
        plot,
        equation="loss(Δx = 0) / loss",
        source="the measure is ours",
    )
