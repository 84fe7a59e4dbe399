"""Run from the wheel's own environment: the installed package works without the repository."""

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import metadata
from pathlib import Path

import mesascope as ms

home = Path(ms.__file__).parent
assert "site-packages" in home.parts, f"imported from {home}, not from the wheel"
assert (home / "py.typed").exists()
names = {path.name for path in home.parent.iterdir()}
assert not names & {"models", "probes", "analyses", "src", "tests"}, "generic names in site-packages"
description = str(metadata("mesascope").json["description"])
assert "mesascope" in description and not re.findall(r"\]\((?!https:)[^)]*\)", description), "links to nowhere"

bare = subprocess.run([sys.executable, "-c", "import mesascope.models, mesascope.probes, mesascope.analyses"])
assert bare.returncode == 0


def mesascope(*arguments: str, **environment: str) -> str:
    """What the installed program prints."""
    program = str(Path(sys.executable).with_name("mesascope"))
    asked = subprocess.run([program, *arguments], env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    assert asked.returncode == 0, f"mesascope {' '.join(arguments)} exited with {asked.returncode}"
    return asked.stdout


assert "mesascope report zoo:lsa-2" in mesascope(), "no greeting"
words = "\n".join(["mesascope", "identify", "zoo", ":", "lsa-2-s"])
completed = mesascope(_MESASCOPE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="4")
assert completed.split() == ["lsa-2-seed1"], completed

with tempfile.TemporaryDirectory() as folder:
    mesascope("report", "zoo:lsa-1", "--out", folder, "--prompts", "400")
    content = json.loads((Path(folder) / "report.json").read_text())
    assert set(content["analyses"]) >= {"performance", "readouts", "similarity", "spectral", "identification"}
    assert (Path(folder) / "report.html").stat().st_size < 8_000_000

with tempfile.TemporaryDirectory() as folder:
    mesascope("sweep", "zoo:lsa-[12]", "--out", folder, "--analysis", "matching", "--jobs", "1")
    rows = json.loads((Path(folder) / "summary.json").read_text())["analyses"]["sweep"]["data"]["rows"]
    assert [row["matching"] for row in rows] == ["1 step of GD", "2 steps of GD++"]
    assert "zoo:lsa-2" in (Path(folder) / "report.html").read_text()
print("wheel: ok")
