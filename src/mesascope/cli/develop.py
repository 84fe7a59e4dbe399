"""A run's checkpoints, one after the other."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mesascope.cli.app import app
from mesascope.cli.completion import complete_checkpoint
from mesascope.cli.console import check_folder, claims_table, command_line, escaped, progress, tell
from mesascope.cli.console import out as stdout
from mesascope.cli.options import AsJson, Device, Figures, Seed, WStd


@app.command(
    epilog="Examples: [bold]mesascope develop zoo:separate-tokens --out out/separate-tokens[/], "
    "[bold]mesascope develop runs/mine --analysis performance --analysis matching[/]"
)
def develop(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run folder that keeps checkpoints, or zoo:NAME.", autocompletion=complete_checkpoint
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where to write report.html and report.json, and to keep what was measured: it is not measured again.",
        ),
    ] = None,
    analysis: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Follow this analysis only, or [bold]all[/]; may be given again.",
            show_default="a short list",
        ),
    ] = None,
    prompts: Annotated[
        int,
        typer.Option(
            min=80,
            help="Prompts on which each analysis of the short list is scored at each checkpoint: four times as many "
            "halve the intervals and take up to four times as long. Other analyses score as many as in a report.",
        ),
    ] = 500,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
    figures: Figures = None,
    as_json: AsJson = False,
) -> None:
    """Follow a run's checkpoints: when each part of the mechanism forms, and in which order."""
    from mesascope.analyses.development import trace_development, write_development
    from mesascope.models import checkpoints_of

    for folder in (out, figures):
        check_folder(folder)
    with progress(len(checkpoints_of(run)), "checkpoints") as advance:
        try:
            result = trace_development(
                run, analysis, n_prompts=prompts, seed=seed, out=out, device=device, w_std=w_std, on_checkpoint=advance
            )
        except KeyboardInterrupt:
            kept = "nothing was kept: give --out" if out is None else f"what was measured is kept in {out}"
            print(f"stopped; {kept}", file=sys.stderr)
            raise typer.Exit(1) from None

    def write() -> tuple[Path, ...]:
        if out is None:
            return ()
        report = write_development(result, out, command_line())
        return report.html, report.json

    table = claims_table(result.claims, f"{result.title} {escaped(run)}")
    tell(result, lambda: stdout().print(table), as_json, figures, write)
