"""What is planted must be found."""

from typing import Annotated

import typer
from rich.table import Table

from mesascope.cli.app import app
from mesascope.cli.console import out, print_json, progress, warn
from mesascope.cli.options import AsJson, Seed


@app.command(epilog="Example: [bold]mesascope selftest --each 1 --untrained 6[/]")
def selftest(
    each: Annotated[int, typer.Option(min=1, help="Learners of each family planted on each task.")] = 2,
    untrained: Annotated[int, typer.Option(min=0, help="Untrained models that must get no name.")] = 20,
    task: Annotated[list[str] | None, typer.Option(help="Plant on this task only; may be given again.")] = None,
    constructions: Annotated[int, typer.Option(min=0, help="Constructions of each kind, in random gauges.")] = 1,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Plant learners as if they were models, and constructions as weights; fail if one is lost or chance is named."""
    from mesascope.analyses.identification.selftest import count_cases, run_selftest
    from mesascope.analyses.matching.selftest import count_constructions, run_construction_test

    n_cases = count_cases(each, untrained, task) + count_constructions(constructions)
    with progress(n_cases, "selftest") as advance:
        result = run_selftest(seed, each, untrained, task, advance)
        weights = run_construction_test(seed, constructions, advance)
    failures = (*result.failures, *weights.failures)
    if as_json:
        print_json(result.data() | {"constructions": weights.data()})
    else:
        table = Table("planted", "right", "verdicts", title=f"Identification of planted learners, seed {seed}")
        for family, (right, n) in result.by_family.items():
            verdicts = ", ".join(f"{verdict} {count}" for verdict, count in result.confusion[family].most_common())
            table.add_row(family, f"{right} of {n}", verdicts)
        named = sum(bool(model.named) for model in result.untrained)
        table.add_row("untrained models", f"{len(result.untrained) - named} of {len(result.untrained)}", "")
        console = out()
        console.print(table)
        for case in result.cases:
            if not case.right:
                console.print(
                    f"lost: {case.plant.label} on {case.task}, noise {case.noise:g}: {case.verdict.text}; {case.why}"
                )
        console.print(f"{result.recovered:.1%} of {len(result.cases)} planted cases recovered.")
        if result.n_single:
            console.print(
                f"{result.n_single} mixtures were not planted: one family alone predicted every draw of them."
            )
        if weights.cases:
            table = Table("construction", "right", title="Constructions in random gauges, and random weights")
            for kind, (right, n) in weights.by_kind.items():
                table.add_row(kind, f"{right} of {n}")
            console.print(table)
    warn(failures, "[bold red]failed:[/]")
    if failures:
        raise typer.Exit(1)
