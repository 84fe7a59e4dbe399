"""Checkpoints side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mesascope.cli.app import app
from mesascope.cli.completion import complete_checkpoint
from mesascope.cli.console import check_folder, command_line, escaped, interval, out, progress, tell, warn
from mesascope.cli.options import AsJson, Device, Figures, FitPrompts, Seed, WStd

if TYPE_CHECKING:
    from mesascope.analyses import Comparison


@app.command(
    epilog="Examples: [bold]mesascope compare zoo:lsa-2 zoo:lsa-2-seed1[/], "
    "[bold]mesascope compare runs/a runs/b runs/c --analysis matching --figures out/compared[/]"
)
def compare(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="CKPT CKPT…",
            help="The reference, then what is held against it.",
            autocompletion=complete_checkpoint,
        ),
    ],
    analysis: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Compare what this analysis says, or [bold]all[/]; may be given again.",
            show_default="performance, readouts, identification",
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="CKPT",
            help="Look at all with the task of this one.",
            show_default="their own",
            autocompletion=complete_checkpoint,
        ),
    ] = None,
    prompts: FitPrompts = 20_000,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
    figures: Figures = None,
    report: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write report.html and report.json there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Subtract every number that checkpoints share, with intervals, and say what differs.

    An analysis that cannot run on one of them is named with its error; the exit code is then 1.
    """
    from mesascope.analyses import attach
    from mesascope.analyses.comparison import compare as run
    from mesascope.analyses.comparison import write_comparison
    from mesascope.analyses.comparison.comparison import DEFAULT
    from mesascope.analyses.selection import choose_analyses

    check_folder(figures)
    check_folder(report)
    n_stages = len(choose_analyses(analysis, DEFAULT)) * len(checkpoints) + 1
    task = None if on is None else attach(on).task
    with progress(n_stages, "comparing") as advance:
        scopes = [attach(ckpt, task=task, seed=seed, device=device, w_std=w_std) for ckpt in checkpoints]
        result = run(scopes, analysis, prompts, on_analysis=advance)

    def write() -> tuple[Path, ...]:
        if report is None:
            return ()
        files = write_comparison(result, report, command_line())
        return files.html, files.json

    # Before anything is written: a full disk does not cost what went wrong.
    warn((f"{name} could not run: {error}" for name, error in result.failed.items()), "[bold red]error:[/]")
    tell(result, lambda: _print(result), as_json, figures, write)
    if result.mistake is not None:
        raise result.mistake
    if result.failed:
        raise typer.Exit(1)


def _print(result: "Comparison") -> None:
    """Differences, verdicts that are not the same, the whole in words, and what is missing."""
    console, verdicts = out(), _verdicts(result)
    console.print(_differences(result))
    if verdicts.row_count:
        console.print(verdicts)
    for claim in result.headlines:
        console.print(escaped(f"{claim.text} [{claim.verdict}]"))
    for name, needs in result.left_out.items():
        console.print(escaped(f"{name} does not apply: it needs {needs}."))
    for name, why in result.not_shared.items():
        console.print(escaped(f"{name}, not subtracted: {why}."))


def _differences(result: "Comparison") -> Table:
    table = Table(
        "number", "checkpoint", "there", "reference", "difference", "95% interval", "q", "verdict",
        title=f"Against {escaped(result.checkpoints[0])}",
    )  # fmt: skip
    for difference in result.differences:
        row = difference.data()
        ci, q = row["ci"], row["q"]
        table.add_row(
            escaped(row["label"]),
            escaped(row["checkpoint"]),
            *(f"{value:.4g}" for value in row["values"]),
            f"{row['difference']:.3g}",
            "–" if ci is None else interval(ci[0], ci[1], ".3g"),
            "–" if q is None else f"{q:.2g}",
            row["verdict"],
        )
    return table


def _verdicts(result: "Comparison") -> Table:
    table = Table("claim", *map(escaped, result.checkpoints), title="Verdicts that are not the same")
    for id_, said in result.verdicts.items():
        if len(set(said)) > 1:
            table.add_row(escaped(id_), *(escaped(verdict or "–") for verdict in said))
    return table
