"""Run from the wheel's own environment: the installed package works without the repository."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import mesascope as ms

home = Path(ms.__file__).parent
assert "site-packages" in home.parts, f"imported from {home}, not from the wheel"
assert (home / "py.typed").exists()
names = {path.name for path in home.parent.iterdir()}
assert not names & {"models", "probes", "analyses", "src", "tests"}, "generic names in site-packages"

bare = subprocess.run([sys.executable, "-c", "import mesascope.models, mesascope.probes, mesascope.analyses"])
assert bare.returncode == 0

with tempfile.TemporaryDirectory() as folder:
    command = [
        str(Path(sys.executable).with_name("mesascope")),
        "report",
        "zoo:lsa-1",
        "--out",
        folder,
        "--prompts",
        "400",
    ]
    subprocess.run(command, check=True)
    content = json.loads((Path(folder) / "report.json").read_text())
    assert set(content["analyses"]) >= {"performance", "readouts", "similarity", "spectral", "identification"}
    assert (Path(folder) / "report.html").stat().st_size < 8_000_000
print("wheel: ok")
