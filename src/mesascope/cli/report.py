"""Everything, as one page."""

from pathlib import Path
from typing import Annotated

import typer

from mesascope.cli.app import app
from mesascope.cli.console import attached, check_folder, command_line, progress, warn
from mesascope.cli.options import Ckpt, Device, FitPrompts, Seed, WStd


@app.command(
    epilog="Examples: [bold]mesascope report zoo:decoder-d5 --out out/report[/], "
    "[bold]mesascope report zoo:lsa-2 --out out/lsa-2 --figures out/lsa-2/figures[/]"
)
def report(
    ckpt: Ckpt,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write report.html and report.json.")],
    prompts: FitPrompts = 20_000,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write every figure there too, as SVG and PDF for a paper, not as pages."),
    ] = None,
) -> None:
    """Run every analysis and write a report that opens anywhere, offline.

    An analysis that cannot run is named in the report with its error; the exit code is then 1.
    """
    from mesascope.analyses import write_report
    from mesascope.analyses.registry import ANALYSES
    from mesascope.analyses.report import check_exporter, export_figures

    check_folder(figures)
    if figures is not None:
        check_exporter()
    scope = attached(ckpt, seed, device, w_std)
    with progress(len(ANALYSES) + 1, "analyses") as advance:
        written = write_report(scope, out, prompts, command=command_line(), on_analysis=advance)
    # Before figures are drawn: a browser that fails does not cost the report, nor where it is.
    print(written.html, written.json, sep="\n", flush=True)
    warn(warning for result in written.results.values() for warning in result.warnings)
    warn((f"{name} could not run: {error}" for name, error in written.failed.items()), "[bold red]error:[/]")
    if figures is not None:
        with progress(1, "figures") as advance:
            advance("figures")
            drawn = export_figures(written.results.values(), figures)
        print(*drawn, sep="\n")
    if written.failed:
        raise typer.Exit(1)
