"""A sweep's files: tables for machines, a page for people."""

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

from mesascope.analyses.claim import finite
from mesascope.analyses.report.files import content_of, write_files
from mesascope.analyses.report.page import Dress, Found, Table, cell
from mesascope.analyses.report.verdict import headline_sentences
from mesascope.analyses.store import Store
from mesascope.analyses.sweep.row import read_claims
from mesascope.analyses.sweep.sweep import Sweep
from mesascope.models.files import write_atomically

GUIDE = (
    "Under the name of an analysis stands the verdict of its first claim. Its number, interval and null are in "
    "<code>summary.csv</code>, with warnings and what went wrong, all claims in <code>claims.csv</code>, all else "
    "under <code>checkpoints/KEY</code>. The loss is relative to that of predicting zero."
)
"""How to read the table of checkpoints."""


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
    settings, found = sweep.settings, {sweep.name: Found.of(sweep)}
    failed = {row.source: row.error for row in sweep.failed}
    verdict, n_prompts, device = headline_sentences(sweep), settings.n_prompts, settings.device
    content = content_of(found, {}, verdict, settings.seed, command, failed=failed, n_prompts=n_prompts, device=device)
    rows = finite(sweep.table())
    looked_at = [("Analyses", ", ".join(settings.analyses)), ("Prompts", f"{settings.n_prompts:,} to fit readouts on")]
    dress = Dress("sweep", sweep.title, looked_at, [_checkpoints(sweep, rows)], "summary.json")
    report = write_files(folder, content, found, dress)
    written = Written(report.html, report.json, folder / "summary.csv", folder / "claims.csv")
    write_atomically(written.csv, as_csv(rows))
    write_atomically(written.claims, as_csv(_long(sweep, Store(folder / "checkpoints"))))
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
            lines.append(
                {"checkpoint": row.source, "claim": claim.id, **numbers, "verdict": claim.verdict, "text": claim.text}
            )
    return lines


def _checkpoints(sweep: Sweep, rows: list[dict[str, Any]]) -> Table:
    """What fits on a page; what is the same for all checkpoints is said once."""
    names = sweep.settings.analyses
    parts = {f"{name}.{part}" for name in names for part in ("value", "low", "high", "null")}
    not_shown = {"copy_of", "key", "format", "warnings", "error"} | parts
    shown = [key for key in (rows[0] if rows else {}) if key not in not_shown]
    loaded = [row for row in rows if row["key"] is not None]
    constant = [key for key in shown if len({row[key] for row in loaded}) == 1 < len(loaded)]
    same = {key: loaded[0][key] for key in constant if key not in {"checkpoint", "state", *names}}
    said = ", ".join(f"{key.replace('_', ' ')} {cell(value)}" for key, value in same.items() if value is not None)
    columns = [key for key in shown if key not in same]
    return Table(
        "checkpoints",
        "Checkpoints",
        "One line for each checkpoint",
        GUIDE + (f" The same for all: {said}." if said else ""),
        [column.replace("_", " ") for column in columns],
        [[row[column] for column in columns] for row in rows],
    )
