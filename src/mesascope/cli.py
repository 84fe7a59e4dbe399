"""The command line. Nothing heavy is imported before a command runs, so that `--help` is instant."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from mesascope.analyses import Scope

N_DESIGNED = 4
"""Families nearest to a model that designed prompts are to tell apart."""

app = typer.Typer(
    name="mesascope",
    help="A microscope for mesa-optimizers: which learning algorithm does a transformer's forward pass run?",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

Ckpt = Annotated[
    str,
    typer.Argument(
        metavar="CKPT", help="A run folder (mesascope's or Garg et al.'s) or zoo:NAME; …@untrained for its twin."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of every prompt and resample.")]
Device = Annotated[str, typer.Option(help="Where to run the model: cpu, cuda, cuda:1, …")]
WStd = Annotated[
    float | None,
    typer.Option(help="Scale of w, for checkpoints that do not record it.", show_default="the checkpoint's, or 1"),
]
Prompts = Annotated[int, typer.Option(min=40, help="Prompts to fit readouts on.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def main() -> None:
    """Run the command line; a user's mistake is one line, not a traceback."""
    try:
        app()
    except ValueError as error:
        from mesascope.models.errors import MesascopeError

        if not isinstance(error, MesascopeError):
            raise
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {_escaped(str(error))}")
        sys.exit(1)


@app.command(epilog="Example: [bold]mesascope report zoo:decoder-d5 --out out/report[/]")
def report(
    ckpt: Ckpt,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write report.html and report.json.")],
    prompts: Prompts = 20_000,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
) -> None:
    """Run every analysis and write a report that opens anywhere, offline."""
    from mesascope.analyses import write_report
    from mesascope.analyses.registry import ANALYSES

    scope = _attach(ckpt, seed, device, w_std)
    with _progress(len(ANALYSES) + 1, "analyses") as advance:
        written = write_report(scope, out, prompts, command=_command(), on_analysis=advance)
    for warning in (warning for result in written.results.values() for warning in result.warnings):
        Console(stderr=True, highlight=False).print(f"[bold yellow]warning:[/] {_escaped(warning)}")
    print(written.html)
    print(written.json)


@app.command(epilog="Example: [bold]mesascope probe zoo:decoder-d5 --target w_ols[/]")
def probe(
    ckpt: Ckpt,
    target: Annotated[str, typer.Option(help="What to read: y, w or w_ols.")] = "y",
    prompts: Prompts = 20_000,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
    as_json: AsJson = False,
) -> None:
    """Fit a linear readout at every layer and print its R² beside its nulls."""
    from mesascope.analyses import fit_readouts

    scope = _attach(ckpt, seed, device, w_std)
    with _progress(1, "fitting readouts") as advance:
        advance("readouts")
        result = fit_readouts(scope, target, prompts)
    if as_json:
        print(json.dumps(result.to_json(), indent=1))
        return
    table = Table(
        "layer", "R²", "95% interval", "shuffled", "another w", "untrained", "verdict", title=f"{target} in {ckpt}"
    )
    for layer in result.layers:
        nulls = (f"{null.value:.3f}" for null in (layer.shuffled, layer.mismatched, layer.untrained))
        table.add_row(
            layer.label, f"{layer.r2.value:.4f}", f"[{layer.r2.low:.4f}, {layer.r2.high:.4f}]", *nulls, layer.verdict
        )
    Console().print(table)


@app.command(
    epilog="Examples: [bold]mesascope identify zoo:lsa-2[/], [bold]mesascope identify zoo:decoder-d5 --json[/]"
)
def identify(
    ckpt: Ckpt,
    n_prompts: Annotated[int, typer.Option("--prompts", min=40, help="Prompts to score on.")] = 1_000,
    readout_prompts: Annotated[int, typer.Option(min=40, help="Prompts to fit the layers' readouts on.")] = 10_000,
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
            stderr.print(f"Hardest to tell apart: {_escaped(str(hardest))}. Scoring {n_prompts:,}.", style="dim")

    scope = _attach(ckpt, seed, device, w_std)
    with _progress(1, "identifying") as advance:
        advance("identification")
        keep = shifts and not discriminating  # the designed prompts are a shift themselves
        result = run(scope, n_prompts=n_prompts, n_fit=readout_prompts, shifts=keep, on_plan=announce)
        if discriminating:
            nearest = {match.family for match in result.output.evidence.matches[:N_DESIGNED]}
            learners = [learner for family, learner in result.output.learners.items() if family in nearest]
            points = [t - scope.task.n_points for t in scope.model.read_points(scope.task.n_points) if t > 0]
            suite = design_prompts(learners, scope.linear, seed, points)
            stderr.print(f"Designed prompts: {_escaped(str(suite))}.", style="dim")
            advance("designed prompts")
            result = run(replace(scope, task=suite.task), n_prompts=n_prompts, n_fit=readout_prompts, shifts=False)
    if as_json:
        print(json.dumps(result.to_json(), indent=1))
        return
    table = Table("layer", "verdict", "nearest", "explained", "95% interval", "ceiling", "floor", title=_escaped(ckpt))
    for finding in reversed(result.layers):
        best, named = finding.best, bool(finding.verdict.families)
        numbers = (
            (f"{1 - best.unexplained.value:.4f}", f"[{1 - best.unexplained.high:.4f}, {1 - best.unexplained.low:.4f}]")
            if named
            else ("–", "–")
        )
        ceiling = f"{finding.evidence.ceiling.value:.4f}" if named else "–"
        nearest_label = _escaped(best.label) if named else "–"
        table.add_row(finding.label, finding.verdict.text, nearest_label, *numbers, ceiling, f"{finding.floor:.4f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(_escaped(result.claims[0].text))
    for warning in result.warnings:
        stderr.print(f"[bold yellow]warning:[/] {_escaped(warning)}")


@app.command(
    epilog="Examples: [bold]mesascope similarity zoo:decoder-d5[/], "
    "[bold]mesascope similarity zoo:decoder-d5 --rival Newton --rival GD --empty-prefix --figures out/fu2024[/]"
)
def similarity(
    ckpt: Ckpt,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Compare with this family only; may be given again.", show_default="every family"
        ),
    ] = None,
    by: Annotated[
        Literal["errors", "weights"], typer.Option(help="Print similarities of errors, or of induced weights.")
    ] = "errors",
    empty_prefix: Annotated[
        bool, typer.Option("--empty-prefix", help="Count the first point too, as the figures of Fu et al. do.")
    ] = False,
    n_prompts: Annotated[int, typer.Option("--prompts", min=40, help="Prompts to score on.")] = 1_000,
    readout_prompts: Annotated[int, typer.Option(min=40, help="Prompts to fit the layers' readouts on.")] = 20_000,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write every figure there, as a page that opens offline.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which learners each layer errs like, and holds weights like, beside floors; it cannot name the algorithm."""
    from mesascope.analyses import measure_similarity
    from mesascope.analyses.report.figures import write_figures
    from mesascope.analyses.report.write import check_writable
    from mesascope.models.errors import MesascopeError

    if figures is not None:
        check_writable(figures)
    scope = _attach(ckpt, seed, device, w_std)
    with _progress(1, "comparing") as advance:
        advance("similarity")
        result = measure_similarity(
            scope, n_prompts=n_prompts, n_fit=readout_prompts, empty_prefix=empty_prefix, rivals=rival
        )
    written = [] if figures is None else write_figures(result, figures)
    if as_json:
        print(json.dumps(result.to_json(), indent=1))
        return
    found = result.errors if by == "errors" else result.weights
    if found is None:
        raise MesascopeError(
            "no weights to compare: y must be linear in x of two dimensions or more, and a rival must hold weights; "
            "use --by errors"
        )
    columns = ("layer", "best match of each family", "similarity", "95% interval", "floor", "verdict")
    table = Table(*columns, title=f"Similarity of {by} in {_escaped(ckpt)}")
    for layer in found.layers:
        for match in layer.matches:
            table.add_row(
                layer.label if match is layer.best else "",
                _escaped(match.learner.label),
                f"{match.similarity.value:.4f}",
                f"[{match.similarity.low:.4f}, {match.similarity.high:.4f}]",
                f"{match.floor:.4f}",
                match.verdict,
                end_section=match is layer.matches[-1],
            )
    console = Console(highlight=False)
    console.print(table)
    for course in found.courses:
        lines = [f"{law} in the layer with R² {fit[2]:.3f}" for law, fit in course.fits.items()]
        if lines:
            console.print(_escaped(f"Best-matching steps of {course.name}: {', '.join(lines)}."))
    for warning in result.warnings:
        Console(stderr=True, highlight=False).print(f"[bold yellow]warning:[/] {_escaped(warning)}")
    for path in written:
        print(path)


@app.command(
    epilog="Examples: [bold]mesascope analyse zoo:lsa-2 matching[/], "
    "[bold]mesascope analyse zoo:lsa-2 spectral --figures out/spectral[/]"
)
def analyse(
    ckpt: Ckpt,
    name: Annotated[str, typer.Argument(metavar="NAME", help="An analysis by its name in report.json.")],
    prompts: Prompts = 20_000,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write every figure there, as a page that opens offline.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run one analysis of the report, and print its claims."""
    from mesascope.analyses.registry import ANALYSES
    from mesascope.analyses.report.figures import write_figures
    from mesascope.analyses.report.write import check_writable
    from mesascope.models.errors import MesascopeError, nearest

    if name not in ANALYSES:
        raise MesascopeError(
            f"no analysis is called {name!r}{nearest(name, ANALYSES)}; there are {', '.join(ANALYSES)}"
        )
    if figures is not None:
        check_writable(figures)
    scope = _attach(ckpt, seed, device, w_std)
    with _progress(1, name) as advance:
        advance(name)
        analysis = ANALYSES[name]
        if not analysis.applies(scope):
            raise MesascopeError(f"{name} does not apply to {ckpt}: it needs {analysis.needs}")
        result = analysis.run(scope, prompts)
    written = [] if figures is None else write_figures(result, figures)
    if as_json:
        print(json.dumps(result.to_json(), indent=1))
        return
    table = Table("claim", "95% interval", "null", "verdict", title=f"{result.title} {_escaped(ckpt)}", show_lines=True)
    for claim in result.claims:
        interval = "–" if claim.ci is None else f"[{claim.ci[0]:.4g}, {claim.ci[1]:.4g}]"
        null = "–" if claim.null is None else f"{claim.null:.4g}"
        table.add_row(_escaped(claim.text), interval, null, _escaped(claim.verdict))
    Console(highlight=False).print(table)
    for warning in result.warnings:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold yellow]warning:[/] {_escaped(warning)}")
    for path in written:
        print(path)


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
    with _progress(n_cases, "selftest") as advance:
        result = run_selftest(seed, each, untrained, task, advance)
        weights = run_construction_test(seed, constructions, advance)
    failures = (*result.failures, *weights.failures)
    if as_json:
        print(json.dumps(result.data() | {"constructions": weights.data()}, indent=1))
    else:
        table = Table("planted", "right", "verdicts", title=f"Identification of planted learners, seed {seed}")
        for family, (right, n) in result.by_family.items():
            verdicts = ", ".join(f"{verdict} {count}" for verdict, count in result.confusion[family].most_common())
            table.add_row(family, f"{right} of {n}", verdicts)
        named = sum(bool(model.named) for model in result.untrained)
        table.add_row("untrained models", f"{len(result.untrained) - named} of {len(result.untrained)}", "")
        console = Console(highlight=False)
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
    for failure in failures:
        Console(stderr=True, highlight=False).print(f"[bold red]failed:[/] {_escaped(failure)}")
    if failures:
        raise typer.Exit(1)


@app.command(epilog="Example: [bold]mesascope inspect zoo:lsa-2[/]")
def inspect(ckpt: Ckpt, seed: Seed = 0, device: Device = "cpu", w_std: WStd = None, as_json: AsJson = False) -> None:
    """Say what a checkpoint is: architecture, task, loss beside the reference learner's, hooks."""
    from mesascope.analyses import measure_performance
    from mesascope.analyses.report.write import describe_model

    scope = _attach(ckpt, seed, device, w_std)
    performance, model = measure_performance(scope, n_prompts=500), describe_model(scope)
    hooks = list(scope.hooked.hook_dict)
    task = scope.task.model_dump(mode="json")
    if as_json:
        content = {
            "checkpoint": ckpt,
            "model": model,
            "task": task,
            "hooks": hooks,
            "performance": performance.to_json(),
        }
        print(json.dumps(content, indent=1))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{_escaped(ckpt)}[/]  {_escaped(str(model.get('about', '')))}")
    for title, fields in [("model", model["config"] | {"n_parameters": model["n_parameters"]}), ("task", task)]:
        console.print(
            f"\n[bold]{title}[/]  " + _escaped(", ".join(f"{key}={_short(value)}" for key, value in fields.items()))
        )
    known = "" if model["w_std_known"] else "  (w_std is not recorded in this checkpoint: state it with --w-std)"
    console.print(f"\n[bold]loss[/]{known}")
    for claim in performance.claims:
        console.print(f"  {_escaped(claim.text)} [bold]{claim.verdict}[/]")
    for warning in performance.warnings:
        console.print(f"  [bold yellow]warning:[/] {_escaped(warning)}")
    console.print(f"\n[bold]hooks[/]  {len(hooks)}, such as {', '.join(scope.hooked.residual_hooks)}")


@app.command(epilog="Example: [bold]mesascope zoo[/], then [bold]mesascope report zoo:lsa-2 --out out/lsa-2[/]")
def zoo(as_json: AsJson = False) -> None:
    """List the bundled specimens with their loss beside that of the reference learner."""
    from mesascope.analyses.specimens import survey_zoo
    from mesascope.models.formats import zoo_names

    with _progress(len(zoo_names()), "specimens") as advance:
        specimens = survey_zoo(on_specimen=advance)
    if as_json:
        print(json.dumps([specimen.to_json() for specimen in specimens], indent=1))
        return
    table = Table(
        title="Bundled specimens, zoo:NAME; zoo:NAME@untrained is a twin with fresh weights",
        caption="Losses are relative to that of predicting zero, over the late points. More with --json.",
    )
    for key in specimens[0].columns():
        table.add_column(key, no_wrap=key in ("zoo:", "loss"), min_width=9)
    for specimen in specimens:
        table.add_row(*specimen.columns().values())
    Console().print(table)


@app.command(
    epilog="Examples: [bold]mesascope train lsa-2 --out runs/lsa-2[/], "
    "[bold]mesascope train my.yaml --out runs/mine[/], "
    "[bold]torchrun --nproc-per-node 2 -m mesascope train fu2024/isotropic --out runs/two[/]"
)
def train(
    preset: Annotated[
        str, typer.Argument(metavar="PRESET|FILE.yaml", help="A bundled preset, or a file of the same form.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The run folder.")],
    seed: Annotated[int | None, typer.Option(help="Seed of weights and data.", show_default="the preset's")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of steps.", show_default="the preset's")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in DIR, or start it.")] = False,
    device: Device = "cpu",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log to TensorBoard too, in DIR.")] = False,
    wandb: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Log to this project of Weights & Biases too.")
    ] = None,
) -> None:
    """Train a model and leave a run folder."""
    from mesascope import __version__
    from mesascope.models import train as run
    from mesascope.models.training.presets import read_preset
    from mesascope.models.training.processes import world_and_rank
    from mesascope.models.training.tracking import TensorBoard, Tracker, WeightsAndBiases
    from mesascope.progress import TrainingBar

    config = read_preset(preset)
    if config.training is not None and steps is not None:
        config = config.model_copy(update={"training": config.training.model_copy(update={"n_steps": steps})})
    seed = config.seed if seed is None else seed
    config = config.model_copy(update={"seed": seed, "version": __version__, "command": _command()})
    is_main = world_and_rank()[1] == 0  # under torchrun one process speaks for all
    trackers: list[Tracker] = []
    if tensorboard and is_main:
        trackers.append(TensorBoard(out / "tensorboard"))
    if wandb is not None and is_main:
        trackers.append(WeightsAndBiases(wandb, out, config.model_dump(mode="json")))
    n_steps = None if config.training is None else config.training.n_steps
    with TrainingBar(preset, n_steps, config.reference().label, quiet=not is_main) as bar:
        try:
            run(config, out, resume=resume, device=device, on_step=bar.update, trackers=trackers)
        except KeyboardInterrupt:
            bar.stop()
            if is_main:
                print(_stopped(out), file=sys.stderr)
            raise typer.Exit(1) from None
    if is_main:
        print(out)


@app.command(name="presets", epilog="Example: [bold]mesascope presets[/]")
def presets() -> None:
    """List what can be trained by name."""
    from mesascope.models.training.presets import preset_names, read_preset

    table = Table("preset", "what it is", title="Bundled presets", show_lines=True)
    for name in preset_names():
        table.add_row(name, read_preset(name).about)
    Console().print(table)


def _stopped(out: Path) -> str:
    from mesascope.models.training.checkpoints import RunFolder

    found = RunFolder(out).read_trainer()
    if found is None:
        return "stopped before the first step"
    return f"stopped; {out} is saved at step {found[0]}: continue with --resume"


def _attach(ckpt: str, seed: int, device: str, w_std: float | None) -> "Scope":
    from mesascope.analyses import attach

    return attach(ckpt, seed=seed, device=device, w_std=w_std)


@contextmanager
def _progress(total: int, what: str) -> Iterator[Any]:
    """A bar on stderr, quiet when that is no terminal; yields a function that names the next stage."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        started = False

        def advance(name: str) -> None:
            nonlocal started
            bar.update(task, description=name, advance=1 if started else 0)
            started = True

        yield advance
        bar.update(task, completed=total)


def _command() -> str:
    return shlex.join(["mesascope", *sys.argv[1:]])


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _short(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
