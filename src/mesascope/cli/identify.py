"""Which algorithm."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mesascope.cli.app import app
from mesascope.cli.console import attached, escaped, interval, out, progress, tell
from mesascope.cli.options import AsJson, Ckpt, Device, ReadoutPrompts, ScorePrompts, Seed, WStd

if TYPE_CHECKING:
    from mesascope.analyses.identification import Discrimination, Identification
    from mesascope.analyses.scope import Scope
    from mesascope.models.tasks import Regression

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
    from mesascope.analyses import identify as run

    def announce(plan: "Discrimination") -> None:
        if plan.hardest is not None:
            _note(f"Hardest to tell apart: {plan.hardest}. Scoring {n_prompts:,}.")

    scope = attached(ckpt, seed, device, w_std)
    if discriminating:
        _ = scope.linear  # designed prompts are varied from it: refuse another task before anything is computed
    with progress(1, "identifying") as advance:
        advance("identification")
        keep = shifts and not discriminating  # the designed prompts are a shift themselves
        result = run(scope, n_prompts=n_prompts, n_fit=readout_prompts, shifts=keep, on_plan=announce)
        if discriminating:
            designed = replace(scope, task=_designed(scope, result, seed))
            advance("designed prompts")
            result = run(designed, n_prompts=n_prompts, n_fit=readout_prompts, shifts=False)
    tell(result, lambda: _show(result, escaped(ckpt)), as_json)


def _note(line: str) -> None:
    Console(stderr=True, highlight=False, emoji=False, soft_wrap=True).print(escaped(line), style="dim")


def _designed(scope: "Scope", found: "Identification", seed: int) -> "Regression":
    """A task whose prompts tell the families that came nearest apart."""
    from mesascope.analyses import design_prompts

    nearest = {match.family for match in found.output.evidence.matches[:N_DESIGNED]}
    learners = [learner for family, learner in found.output.learners.items() if family in nearest]
    points = [t - scope.task.n_points for t in scope.model.read_points(scope.task.n_points) if t > 0]
    suite = design_prompts(learners, scope.linear, seed, points)
    _note(f"Designed prompts: {suite}.")
    return suite.task


def _show(result: "Identification", title: str) -> None:
    table = Table("layer", "verdict", "nearest", "explained", "95% interval", "ceiling", "floor", title=title)
    for finding in reversed(result.layers):
        nearest, explained, ci, ceiling = "–", "–", "–", "–"
        if finding.verdict.families:
            nearest, lost = escaped(finding.best.label), finding.best.unexplained
            explained, ci = f"{1 - lost.value:.4f}", interval(1 - lost.high, 1 - lost.low, ".4f")
            ceiling = f"{finding.evidence.ceiling.value:.4f}"
        verdict = escaped(finding.verdict.text)
        table.add_row(finding.label, verdict, nearest, explained, ci, ceiling, f"{finding.floor:.4f}")
    console = out()
    console.print(table)
    console.print(escaped(result.claims[0].text))
