"""Readouts."""

from typing import Annotated

import typer
from rich.table import Table

from mesascope.cli.app import app
from mesascope.cli.console import attached, out, print_json, progress
from mesascope.cli.options import AsJson, Ckpt, Device, FitPrompts, Seed, WStd


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
    if not processes.is_main:  # every process has the whole result, one speaks
        return
    if as_json:
        print_json(result.to_json())
        return
    table = Table(
        "layer", "R²", "95% interval", "shuffled", "another w", "untrained", "verdict", title=f"{target} in {ckpt}"
    )
    for layer in result.layers:
        nulls = (f"{null.value:.3f}" for null in (layer.shuffled, layer.mismatched, layer.untrained))
        table.add_row(
            layer.label, f"{layer.r2.value:.4f}", f"[{layer.r2.low:.4f}, {layer.r2.high:.4f}]", *nulls, layer.verdict
        )
    out().print(table)
