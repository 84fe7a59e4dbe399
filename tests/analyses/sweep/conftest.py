import shutil

import pytest

from mesascope.analyses.sweep.processes import LocalProcesses

CHEAP = ("performance", "matching")


class Here(LocalProcesses):
    """Jobs one after the other in this process, for tests of everything else."""

    def __init__(self, stop_after=None):
        self.stop_after, self.seen = stop_after, []

    def run(self, work, jobs):
        for job in jobs:
            if len(self.seen) == self.stop_after:
                raise KeyboardInterrupt
            self.seen.append(job.source)
            yield job, work(job)


@pytest.fixture
def runs(tmp_path, tiny_run):
    """A folder with a run, its copy, its twin-to-be, a truncated one and one that is none."""
    folder = tmp_path / "runs"
    for name in ("a", "b-copy", "c-broken"):
        shutil.copytree(tiny_run, folder / name)
    weights = folder / "c-broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    (folder / "d-foreign").mkdir()
    (folder / "d-foreign" / "notes.txt").write_text("nothing to see")
    return folder
