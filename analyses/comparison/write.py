"""Write a comparison as a report."""

from pathlib import Path

from mesascope.analyses.comparison.comparison import Comparison
from mesascope.analyses.folders import check_writable
from mesascope.analyses.report.files import Report, content_of, write_files
from mesascope.analyses.report.page import Dress, Found
from mesascope.analyses.report.verdict import headline_sentences


def write_comparison(comparison: Comparison, out: str | Path, command: str = "") -> Report:
    """Write `out/report.html` and `out/report.json`, atomically; a mistake of ours is raised after that.

    Args:
        comparison: What was found.
        out: Folder, made if it is not there.
        command: The command to print in the report, so that a reader can repeat it.

    Raises:
        MesascopeError: The folder cannot be written.
    """
    folder = Path(out)
    check_writable(folder)
    sides, points, found = comparison.sides, comparison.points, {comparison.name: Found.of(comparison)}
    # The keys of a report of one are the reference's.
    several = {"checkpoint": " and ".join(comparison.checkpoints), "checkpoints": [dict(side.about) for side in sides]}
    about = {**sides[0].about, **several}
    verdict = headline_sentences(comparison)
    missing = comparison.left_out, comparison.failed
    content = content_of(
        found, about, verdict, comparison.seed, command, *missing, n_prompts=comparison.n_fit, device=comparison.device
    )
    where = f"point {points[0]}" if len(points) == 1 else f"{len(points)} points from {points[0]} to {points[-1]}"
    looked_at = [
        ("Side by side", f"losses and predictions on {comparison.n_prompts:,} prompts, at {where}"),
        ("Prompts", f"{comparison.n_fit:,} to fit readouts on"),
    ]
    content |= {"not_shared": comparison.not_shared}
    report = write_files(folder, content, found, Dress("compare", about=looked_at))
    if comparison.mistake is not None:
        raise comparison.mistake
    return report
