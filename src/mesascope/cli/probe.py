"""Readouts."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mesascope.cli.app import app
from mesascope.cli.console import attached, escaped, interval, out, progress, tell
from mesascope.cli.options import AsJson, Ckpt, Device, FitPrompts, Seed, WStd

if TYPE_CHECKING:
    from mesascope.analyses.readouts import Readouts


@app.command(
    epilog="Examples: [bold]mesascope probe zoo:decoder-d5 --target w_ols[/], "
    "[bold]torchrun --nproc-per-node 2 -m mesascope probe zoo:decoder-d5 --prompts 1000000[/]"
)
def probe(
    ckpt: Ckpt,
    target: Annotated[str, typer.Option(help="What to read: y, w or w_ols.")] = "y",
    prompts: FitPrompts = 20_000,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
    as_json: AsJson = False,
) -> None:
    """Fit a linear readout at every layer and print its R² beside its nulls."""
    from mesascope.analyses import fit_readouts
    from mesascope.analyses.sharing import Share
    from mesascope.models.training.processes import Processes

    processes = Processes(device)
    scope = attached(ckpt, seed, str(processes.device), w_std)
    with progress(1, "fitting readouts") as advance:
        advance("readouts")
        result = fit_readouts(scope, target, prompts, share=Share.of(processes))
    processes.end()
    if processes.is_main:  # every process has the whole result, one speaks
        tell(result, lambda: out().print(_table(result, f"{target} in {escaped(ckpt)}")), as_json)


def _table(result: "Readouts", title: str) -> Table:
    table = Table("layer", "R²", "95% interval", "shuffled", "another w", "untrained", "verdict", title=title)
    for layer in result.layers:
        nulls = (f"{null.value:.3f}" for null in (layer.shuffled, layer.mismatched, layer.untrained))
        table.add_row(
            layer.label, f"{layer.r2.value:.4f}", interval(layer.r2.low, layer.r2.high, ".4f"), *nulls, layer.verdict
        )
    return table
