"""The bundled specimens."""

from rich.table import Table

from mesascope.cli.app import app
from mesascope.cli.console import out, print_json, progress
from mesascope.cli.options import AsJson


@app.command(epilog="Example: [bold]mesascope zoo[/], then [bold]mesascope report zoo:lsa-2 --out out/lsa-2[/]")
def zoo(as_json: AsJson = False) -> None:
    """List the bundled specimens with their loss beside that of the reference learner."""
    from mesascope.analyses.specimens import survey_zoo
    from mesascope.models.formats import zoo_names

    with progress(len(zoo_names()), "specimens") as advance:
        specimens = survey_zoo(on_specimen=advance)
    if as_json:
        print_json([specimen.to_json() for specimen in specimens])
        return
    table = Table(
        title="Bundled specimens, zoo:NAME; zoo:NAME@untrained is a twin with fresh weights",
        caption="Losses are relative to that of predicting zero, over the late points. More with --json.",
    )
    for key in specimens[0].columns():
        table.add_column(key, no_wrap=key in ("zoo:", "loss"), min_width=9)
    for specimen in specimens:
        table.add_row(*specimen.columns().values())
    out().print(table)
