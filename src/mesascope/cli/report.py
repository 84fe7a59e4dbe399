"""Everything, as one page."""

from pathlib import Path
from typing import Annotated

import typer

from mesascope.cli.app import app
from mesascope.cli.console import attached, command_line, progress, warn
from mesascope.cli.options import Ckpt, Device, FitPrompts, Seed, WStd


@app.command(epilog="Example: [bold]mesascope report zoo:decoder-d5 --out out/report[/]")
def report(
    ckpt: Ckpt,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write report.html and report.json.")],
    prompts: FitPrompts = 20_000,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
) -> None:
    """Run every analysis and write a report that opens anywhere, offline."""
    from mesascope.analyses import write_report
    from mesascope.analyses.registry import ANALYSES

    scope = attached(ckpt, seed, device, w_std)
    with progress(len(ANALYSES) + 1, "analyses") as advance:
        written = write_report(scope, out, prompts, command=command_line(), on_analysis=advance)
    warn(warning for result in written.results.values() for warning in result.warnings)
    print(written.html)
    print(written.json)
