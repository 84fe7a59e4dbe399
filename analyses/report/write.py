"""Run every analysis on a scope, and write what was found."""

from collections.abc import Callable
from pathlib import Path

from mesascope.analyses.descriptions import describe_scope, device_of
from mesascope.analyses.findings import run_analyses
from mesascope.analyses.folders import check_writable
from mesascope.analyses.registry import ANALYSES
from mesascope.analyses.report.files import Report, content_of, write_files
from mesascope.analyses.report.page import Dress, Found
from mesascope.analyses.report.verdict import sentences
from mesascope.analyses.scope import Scope
from mesascope.models import MesascopeError


def write_report(
    scope: Scope,
    out: str | Path,
    n_prompts: int = 20_000,
    *,
    command: str = "",
    on_analysis: Callable[[str], None] = lambda name: None,
) -> Report:
    """Run every analysis and write `out/report.html` and `out/report.json`.

    Both are written at the end and atomically: an earlier report stays whole until then. An analysis that cannot run is
    named in the report with its error, and the others are reported: their minutes are not lost for it. A mistake of
    ours, any exception that is neither a refusal nor a lack of memory, is raised after what was found is written.

    Args:
        scope: What to report on.
        out: Folder, made if it is not there.
        n_prompts: Prompts to fit readouts on.
        command: The command to print in the report, so that a reader can repeat it.
        on_analysis: Called with the name of each analysis as it starts, and with "writing" at the end.

    Raises:
        MesascopeError: The folder cannot be written (checked first), or no analysis can run.
    """
    folder = Path(out)
    check_writable(folder)
    findings = run_analyses(scope, ANALYSES, n_prompts, Found.of, on_analysis)
    if findings.mistake is not None and not findings.found:
        raise findings.mistake
    if findings.failed and not findings.found:
        raise MesascopeError(f"no analysis could run: {'; '.join(f'{n}: {e}' for n, e in findings.failed.items())}")
    on_analysis("writing")
    verdict = sentences(each.result for each in findings.found.values())
    content = content_of(
        findings.found,
        describe_scope(scope),
        verdict,
        scope.seed,
        command,
        findings.left_out,
        findings.failed,
        n_prompts=n_prompts,
        device=device_of(scope),
    )
    looked_at = [("Prompts", f"{n_prompts:,} to fit readouts on")]
    report = write_files(folder, content, findings.found, Dress(about=looked_at))
    if findings.mistake is not None:
        raise findings.mistake
    return report
