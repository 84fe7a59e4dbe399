"""One analysis of the report."""

from typing import Annotated

import typer

from mesascope.cli.app import app
from mesascope.cli.console import attached, check_folder, claims_table, escaped, out, progress, tell, warn
from mesascope.cli.options import AsJson, Ckpt, Device, Figures, Seed, WStd


@app.command(
    epilog="Examples: [bold]mesascope analyse zoo:lsa-2 matching[/], "
    "[bold]mesascope analyse zoo:lsa-2 spectral --figures out/spectral[/]"
)
def analyse(
    ckpt: Ckpt,
    name: Annotated[str, typer.Argument(metavar="NAME", help="An analysis by its name in report.json.")],
    prompts: Annotated[
        int | None, typer.Option(min=40, help="Prompts to fit readouts on, where it fits any.", show_default="20000")
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    w_std: WStd = None,
    figures: Figures = None,
    as_json: AsJson = False,
) -> None:
    """Run one analysis of the report, and print its claims."""
    from mesascope.analyses.registry import ANALYSES
    from mesascope.analyses.selection import check_names
    from mesascope.models import MesascopeError

    check_names([name], ANALYSES)
    check_folder(figures)
    if not ANALYSES[name].fits_readouts and prompts is not None:
        warn([f"{name} fits no readouts, so --prompts {prompts} changes nothing; leave it out"])
    scope = attached(ckpt, seed, device, w_std)
    with progress(1, name) as advance:
        advance(name)
        analysis = ANALYSES[name]
        if not analysis.applies(scope):
            raise MesascopeError(f"{name} does not apply to {ckpt}: it needs {analysis.needs}")
        result = analysis.run(scope, prompts or 20_000)
    table = claims_table(result.claims, f"{result.title} {escaped(ckpt)}")
    tell(result, lambda: out().print(table), as_json, figures)
