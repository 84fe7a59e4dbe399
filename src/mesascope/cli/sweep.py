"""Many checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mesascope.cli.app import app
from mesascope.cli.completion import complete_checkpoint
from mesascope.cli.console import command_line, escaped, print_json, progress, warn
from mesascope.cli.console import out as stdout
from mesascope.cli.options import AsJson, Device, FitPrompts, Seed, WStd

if TYPE_CHECKING:
    from mesascope.analyses.sweep import Sweep


@app.command(
    epilog="Examples: [bold]mesascope sweep 'runs/*' --out out/sweep --jobs 8[/], "
    "[bold]mesascope sweep 'runs/*' --out /shared/sweep --cluster slurm --partition cpu --jobs 200[/]"
)
def sweep(
    patterns: Annotated[
        list[str],
        typer.Argument(
            metavar="PATTERN…",
            help="Run folders, such as 'runs/*', 'zoo:lsa-*' or 'runs/*@step-1000'.",
            autocompletion=complete_checkpoint,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Results; finished ones there are not measured again.")],
    analysis: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Run this analysis, or [bold]all[/]; may be given again.",
            show_default="performance, identification, matching",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Checkpoints at a time.", show_default="one a core, or what the cluster gives"),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="NAME", help="Submit to a cluster, [bold]slurm[/].", show_default="run here")
    ] = None,
    partition: Annotated[str | None, typer.Option(help="The cluster's partition.", show_default="its own")] = None,
    minutes: Annotated[
        int | None, typer.Option(min=1, help="The cluster's time limit for a checkpoint.", show_default="60")
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="The cluster's cores for a checkpoint.", show_default="1")
    ] = None,
    prompts: FitPrompts = 10_000,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
    as_json: AsJson = False,
) -> None:
    """Measure many checkpoints, here or on a cluster, and continue where that was stopped."""
    from mesascope.analyses.folders import check_writable
    from mesascope.analyses.sweep import Cluster, LocalProcesses, write_sweep
    from mesascope.analyses.sweep import sweep_checkpoints as run
    from mesascope.analyses.sweep.addresses import find_checkpoints
    from mesascope.models import MesascopeError

    of_cluster = {"--partition": partition, "--minutes": minutes, "--cpus": cpus}
    idle = [flag for flag, value in of_cluster.items() if value is not None]
    if cluster is None and idle:
        raise MesascopeError(
            f"{', '.join(idle)}: of a cluster, but the sweep runs here; add --cluster slurm, or leave this out"
        )
    check_writable(out)
    executor: Any = LocalProcesses(jobs)
    if cluster is not None:
        executor = Cluster(out / "logs", cluster, jobs, partition, minutes or 60, cpus or 1)
    with progress(len(find_checkpoints(patterns, out)), "sweep") as advance:
        advance("checkpoints")
        result = run(
            patterns, out, analysis, prompts, seed, device, w_std, executor, lambda source, *_: advance(source)
        )  # fmt: skip
    written = write_sweep(result, out, command_line())
    if as_json:
        print_json(result.to_json())
    else:
        _show(result)
        print(*written, sep="\n")
    warn(result.warnings)
    warn((f"{row.source} is not whole: {row.error}" for row in result.failed), "[bold red]failed:[/]")
    if result.failed:
        raise typer.Exit(1)


def _show(result: "Sweep") -> None:
    """What fits into a terminal; the rest is in summary.csv."""
    names = result.settings.analyses
    table = Table("checkpoint", "task", "loss", *names, title="One line for each checkpoint")
    for row in result.rows:
        loss = row.numbers.get("loss")
        firsts = [row.first(name) for name in names]
        said = ["–" if claim is None else escaped(claim.verdict) for claim in firsts]
        if not row.done and not any(firsts):
            said = ["failed", *("" for _ in names[1:])]
        task = row.about.get("task", "–")
        table.add_row(escaped(row.source), escaped(task), "–" if loss is None else f"{loss:.3g}", *said)
    console = stdout()
    console.print(table)
    for claim in result.headlines:
        console.print(escaped(claim.text))
