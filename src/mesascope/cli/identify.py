"""Which algorithm."""

from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mesascope.cli.app import app
from mesascope.cli.console import attached, escaped, out, print_json, progress, warn
from mesascope.cli.options import AsJson, Ckpt, Device, ReadoutPrompts, ScorePrompts, Seed, WStd

N_DESIGNED = 4
"""Families nearest to a model that designed prompts are to tell apart."""


@app.command(
    epilog="Examples: [bold]mesascope identify zoo:lsa-2[/], [bold]mesascope identify zoo:decoder-d5 --json[/]"
)
def identify(
    ckpt: Ckpt,
    n_prompts: ScorePrompts = 1_000,
    readout_prompts: ReadoutPrompts = 10_000,
    shifts: Annotated[bool, typer.Option(help="Also try the learner that is found out of distribution.")] = True,
    discriminating: Annotated[
        bool, typer.Option("--discriminating", help="Afterwards on prompts designed to tell the nearest rivals apart.")
    ] = False,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
    as_json: AsJson = False,
) -> None:
    """Say which learning algorithm each layer runs, as far as the evidence allows."""
    from mesascope.analyses import design_prompts
    from mesascope.analyses import identify as run
    from mesascope.analyses.identification import Discrimination

    stderr = Console(stderr=True, highlight=False, soft_wrap=True)

    def announce(plan: Discrimination) -> None:
        hardest = plan.hardest
        if hardest is not None:
            stderr.print(f"Hardest to tell apart: {escaped(str(hardest))}. Scoring {n_prompts:,}.", style="dim")

    scope = attached(ckpt, seed, device, w_std)
    with progress(1, "identifying") as advance:
        advance("identification")
        keep = shifts and not discriminating  # the designed prompts are a shift themselves
        result = run(scope, n_prompts=n_prompts, n_fit=readout_prompts, shifts=keep, on_plan=announce)
        if discriminating:
            nearest = {match.family for match in result.output.evidence.matches[:N_DESIGNED]}
            learners = [learner for family, learner in result.output.learners.items() if family in nearest]
            points = [t - scope.task.n_points for t in scope.model.read_points(scope.task.n_points) if t > 0]
            suite = design_prompts(learners, scope.linear, seed, points)
            stderr.print(f"Designed prompts: {escaped(str(suite))}.", style="dim")
            advance("designed prompts")
            result = run(replace(scope, task=suite.task), n_prompts=n_prompts, n_fit=readout_prompts, shifts=False)
    if as_json:
        print_json(result.to_json())
        return
    table = Table("layer", "verdict", "nearest", "explained", "95% interval", "ceiling", "floor", title=escaped(ckpt))
    for finding in reversed(result.layers):
        best, named = finding.best, bool(finding.verdict.families)
        numbers = (
            (f"{1 - best.unexplained.value:.4f}", f"[{1 - best.unexplained.high:.4f}, {1 - best.unexplained.low:.4f}]")
            if named
            else ("–", "–")
        )
        ceiling = f"{finding.evidence.ceiling.value:.4f}" if named else "–"
        nearest_label = escaped(best.label) if named else "–"
        table.add_row(finding.label, finding.verdict.text, nearest_label, *numbers, ceiling, f"{finding.floor:.4f}")
    console = out()
    console.print(table)
    console.print(escaped(result.claims[0].text))
    warn(result.warnings)
