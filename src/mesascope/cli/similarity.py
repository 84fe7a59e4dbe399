"""Errors and weights like which learner's."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from mesascope.cli.app import app
from mesascope.cli.console import attached, check_folder, escaped, interval, out, progress, tell
from mesascope.cli.options import AsJson, Ckpt, Device, Figures, ReadoutPrompts, ScorePrompts, Seed, WStd

if TYPE_CHECKING:
    from mesascope.analyses.similarity.comparison import Comparison


@app.command(
    epilog="Examples: [bold]mesascope similarity zoo:decoder-d5[/], "
    "[bold]mesascope similarity zoo:decoder-d5 --rival Newton --rival GD --empty-prefix --figures out/fu2024[/]"
)
def similarity(
    ckpt: Ckpt,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Compare with this family only; may be given again.", show_default="every family"
        ),
    ] = None,
    by: Annotated[
        Literal["errors", "weights"], typer.Option(help="Print similarities of errors, or of induced weights.")
    ] = "errors",
    empty_prefix: Annotated[
        bool, typer.Option("--empty-prefix", help="Count the first point too, as the figures of Fu et al. do.")
    ] = False,
    n_prompts: ScorePrompts = 1_000,
    readout_prompts: ReadoutPrompts = 20_000,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
    figures: Figures = None,
    as_json: AsJson = False,
) -> None:
    """Say which learners each layer errs like, and holds weights like, beside floors; it cannot name the algorithm."""
    from mesascope.analyses import measure_similarity
    from mesascope.analyses.similarity.rivals import choose_rivals
    from mesascope.analyses.similarity.similarity import with_weights
    from mesascope.models import MesascopeError

    check_folder(figures)
    scope = attached(ckpt, seed, device, w_std)
    if by == "weights" and not with_weights(scope.regression, choose_rivals(scope.regression, rival)):
        raise MesascopeError(
            "no weights to compare: y must be linear in x of two dimensions or more, and a rival must hold weights; "
            "use --by errors"
        )
    with progress(1, "comparing") as advance:
        advance("similarity")
        result = measure_similarity(
            scope, n_prompts=n_prompts, n_fit=readout_prompts, empty_prefix=empty_prefix, rivals=rival
        )
    found = result.errors if by == "errors" else result.weights
    assert found is not None  # what holds weights was asked before
    tell(result, lambda: _show(found, f"Similarity of {by} in {escaped(ckpt)}"), as_json, figures)


def _show(found: "Comparison", title: str) -> None:
    columns = ("layer", "best match of each family", "similarity", "95% interval", "floor", "verdict")
    table = Table(*columns, title=title)
    for layer in found.layers:
        for match in layer.matches:
            table.add_row(
                layer.label if match is layer.best else "",
                escaped(match.learner.label),
                f"{match.similarity.value:.4f}",
                interval(match.similarity.low, match.similarity.high, ".4f"),
                f"{match.floor:.4f}",
                match.verdict,
                end_section=match is layer.matches[-1],
            )
    console = out()
    console.print(table)
    for course in found.courses:
        lines = [f"{law} in the layer with R² {fit[2]:.3f}" for law, fit in course.fits.items()]
        if lines:
            console.print(escaped(f"Best-matching steps of {course.name}: {', '.join(lines)}."))
