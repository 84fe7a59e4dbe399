"""What is planted must be found."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mesascope.cli.app import app
from mesascope.cli.console import escaped, out, print_json, progress, warn
from mesascope.cli.options import AsJson, Seed

if TYPE_CHECKING:
    from mesascope.analyses.identification.selftest import SelfTest
    from mesascope.analyses.induction.selftest import CircuitTest
    from mesascope.analyses.matching.selftest import ConstructionTest


@app.command(epilog="Example: [bold]mesascope selftest --each 1 --untrained 6[/]")
def selftest(
    each: Annotated[int, typer.Option(min=1, help="Learners of each family planted on each task.")] = 2,
    untrained: Annotated[int, typer.Option(min=0, help="Untrained models that must get no name.")] = 20,
    task: Annotated[list[str] | None, typer.Option(help="Plant on this task only; may be given again.")] = None,
    constructions: Annotated[int, typer.Option(min=0, help="Constructions of each kind, in random gauges.")] = 1,
    circuits: Annotated[int, typer.Option(min=0, help="Induction circuits of each kind, and untrained models.")] = 1,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Plant learners, constructions and circuits as if they were models; fail if one is lost or chance is named."""
    from mesascope.analyses.identification.selftest import count_cases, run_selftest
    from mesascope.analyses.induction.selftest import count_circuits, run_circuit_test
    from mesascope.analyses.matching.selftest import count_constructions, run_construction_test

    n_cases = count_cases(each, untrained, task) + count_constructions(constructions) + count_circuits(circuits)
    with progress(n_cases, "selftest") as advance:
        learners = run_selftest(seed, each, untrained, task, advance)
        parts: dict[str, ConstructionTest | CircuitTest] = {
            "constructions": run_construction_test(seed, constructions, advance),
            "circuits": run_circuit_test(seed, circuits, on_case=advance),
        }
    failures = [*learners.failures, *(failure for part in parts.values() for failure in part.failures)]
    if as_json:
        print_json(learners.data() | {name: part.data() for name, part in parts.items()})
    else:
        _print_learners(learners)
        for name, part in parts.items():
            if part.cases:
                table = Table(name, "right", title=f"Planted {name}, and random weights")
                for kind, (right, n) in part.by_kind.items():
                    table.add_row(kind, f"{right} of {n}")
                out().print(table)
    warn(failures, "[bold red]failed:[/]")
    if failures:
        raise typer.Exit(1)


def _print_learners(found: "SelfTest") -> None:
    table = Table("planted", "right", "verdicts", title=f"Identification of planted learners, seed {found.seed}")
    for family, (right, n) in found.by_kind.items():
        verdicts = ", ".join(f"{verdict} {count}" for verdict, count in found.confusion[family].most_common())
        table.add_row(family, f"{right} of {n}", verdicts)
    named = sum(bool(model.named) for model in found.untrained)
    table.add_row("untrained models", f"{len(found.untrained) - named} of {len(found.untrained)}", "")
    console = out()
    console.print(table)
    for case in found.cases:
        if not case.right:
            what = f"{case.plant.label} on {case.task}, noise {case.noise:g}"
            console.print(escaped(f"lost: {what}: {case.verdict.text}; {case.why}"))
    console.print(f"{found.recovered:.1%} of {len(found.cases)} planted cases recovered.")
    if found.n_single:
        console.print(f"{found.n_single} mixtures were not planted: one family alone predicted every draw of them.")
