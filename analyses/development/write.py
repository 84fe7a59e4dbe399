"""Write what was found of a run as a report."""

from pathlib import Path

from mesascope.analyses.descriptions import describe_scope
from mesascope.analyses.development.development import Development
from mesascope.analyses.folders import check_writable
from mesascope.analyses.report.files import Report, content_of, write_files
from mesascope.analyses.report.page import Dress, Found
from mesascope.analyses.report.verdict import headline_sentences
from mesascope.analyses.scope import attach


def write_development(development: Development, out: str | Path, command: str = "") -> Report:
    """Write `out/report.html` and `out/report.json`, atomically.

    Args:
        development: What was found.
        out: Folder, made if it is not there.
        command: The command to print in the report, so that a reader can repeat it.

    Raises:
        MesascopeError: The folder cannot be written, or the run is no longer there.
    """
    folder = Path(out)
    check_writable(folder)
    steps, found = development.steps, {development.name: Found.of(development)}
    # The last checkpoint stands for the model: task and architecture are those of all.
    last = attach(f"{development.run}@step-{steps[-1]}", seed=development.seed, w_std=development.w_std)
    about = describe_scope(last, development.run)
    verdict, device = headline_sentences(development), development.device
    n_prompts = development.n_prompts
    content = content_of(found, about, verdict, development.seed, command, n_prompts=n_prompts, device=device)
    looked_at = [
        ("Checkpoints", f"{len(steps)}, from step {steps[0]:,} to {steps[-1]:,}"),
        ("Prompts", f"{development.n_prompts:,} that each analysis scores at each checkpoint"),
    ]
    return write_files(folder, content, found, Dress("develop", about=looked_at))
