"""A sweep's files: tables for machines, a page for people."""

import csv
import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mesascope import __version__
from mesascope.analyses.claim import finite
from mesascope.analyses.report.page import embed, number, simple_html
from mesascope.analyses.store import Store
from mesascope.analyses.sweep.row import read_claims
from mesascope.analyses.sweep.sweep import Sweep
from mesascope.models.files import write_atomically

SCHEMA = 1


class Written(NamedTuple):
    """Where the files of a sweep are."""

    html: Path
    json: Path
    csv: Path
    """One line a checkpoint."""
    claims: Path
    """One line a claim."""


def write_sweep(sweep: Sweep, out: str | Path, command: str = "") -> Written:
    """Write `report.html`, `summary.json`, `summary.csv` and `claims.csv`, each atomically.

    Args:
        sweep: What was found.
        out: The folder that it was stored in.
        command: The command to print in the report, so that a reader can repeat it.

    Raises:
        MesascopeError: A file cannot be written.
    """
    folder = Path(out)
    names = ("report.html", "summary.json", "summary.csv", "claims.csv")
    written = Written(*(folder / name for name in names))
    content = finite(
        {
            "schema": SCHEMA,
            "version": __version__,
            "command": command,
            "seed": sweep.settings.seed,
            "analyses": {sweep.name: sweep.to_json()},
        }
    )
    write_atomically(written.json, json.dumps(content, indent=1, allow_nan=False) + "\n")
    table = content["analyses"][sweep.name]["data"]["rows"]
    write_atomically(written.csv, as_csv(table))
    write_atomically(written.claims, as_csv(_long(sweep, Store(folder / "checkpoints"))))
    write_atomically(written.html, _page(sweep, table, content))
    return written


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows with the same columns as CSV; what is missing is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _long(sweep: Sweep, store: Store) -> list[dict[str, Any]]:
    """Every claim of every checkpoint, copies too: the table joins the other by checkpoint."""
    lines = []
    for row in sweep.rows:
        for claim in read_claims(store, row.key, sweep.settings.analyses) if row.key else ():
            low, high = claim.ci or (None, None)
            numbers = {"value": claim.value, "low": low, "high": high, "null": claim.null}
            lines.append({"checkpoint": row.source, "claim": claim.id, **numbers, "verdict": claim.verdict})
    return lines


def _page(sweep: Sweep, table: list[dict[str, Any]], content: dict[str, Any]) -> str:
    from plotly.offline import get_plotlyjs

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"embed": embed, "cell": _cell, "simple": simple_html}
    template = environment.from_string((files("mesascope.analyses.sweep") / "page.html.j2").read_text("utf-8"))
    style = (files("mesascope.analyses.report") / "template" / "style.css").read_text("utf-8")
    parts = ("value", "low", "high", "null")
    hidden = {
        "copy_of",
        "key",
        "format",
        "error",
        *(f"{name}.{part}" for name in sweep.settings.analyses for part in parts),
    }
    columns = [column for column in (table[0] if table else {}) if column not in hidden]
    return template.render(
        sweep=sweep, table=table, columns=columns, content=content, style=Markup(style), plotly=Markup(get_plotlyjs())
    )


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, float) or value is None else str(value)
