"""What can be trained by name."""

from rich.table import Table

from mesascope.cli.app import app
from mesascope.cli.console import out


@app.command(name="presets", epilog="Example: [bold]mesascope presets[/]")
def presets() -> None:
    """List what can be trained by name."""
    from mesascope.models.training.presets import preset_names, read_preset

    table = Table("preset", "what it is", title="Bundled presets", show_lines=True)
    for name in preset_names():
        table.add_row(name, read_preset(name).about)
    out().print(table)
