"""As shells ask: without arguments, the line in the environment."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mesascope.cli.completion import complete_checkpoint, whole_words
from mesascope.models.formats import zoo_names

from .calls import COMMANDS, takes_a_checkpoint

PROGRAM = str(Path(sys.executable).with_name("mesascope"))
ZOO = [f"zoo:{name}" for name in zoo_names()]


def bash(line: list[str]) -> dict[str, str]:
    """What bash's script puts into the environment when the cursor is at the end of a line."""
    words = {"COMP_WORDS": "\n".join(line), "COMP_CWORD": str(len(line) - 1)}
    return {"_MESASCOPE_COMPLETE": "complete_bash", **words}


@pytest.fixture
def ask(run, monkeypatch):
    """The program's answer to a shell."""

    def answer(environment: dict[str, str]) -> list[str]:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.delenv("_MESASCOPE_CUT", raising=False)
            code, out, err = run()
            assert code == 0 and err == ""
            return out.split()

    return answer


def test_bash_completes_commands_options_and_the_zoo(ask):
    assert ask(bash(["mesascope", "id"])) == ["identify"]
    assert ask(bash(["mesascope", ""])) == list(COMMANDS)
    assert ask(bash(["mesascope", "identify", "--dis"])) == ["--discriminating"]
    assert ask(bash(["mesascope", "identify", "zo"])) == ZOO
    assert ask(bash(["mesascope", "identify", "ru"])) == []  # bash offers files then


@pytest.mark.parametrize(
    "line, expected",
    [
        (["identify", "zoo", ":"], zoo_names()),
        (["identify", "zoo", ":", "lst"], ["lstm"]),
        (["sweep", "zoo", ":", "lsa-1", "zoo", ":", "lst"], ["lstm"]),
        (["identify", "zoo:lst"], ["zoo:lstm"]),  # where colons were taken out of COMP_WORDBREAKS
        (["identify", "zoo", ":", "lsa-1", "--dis"], ["--discriminating"]),
    ],
    ids=" ".join,
)
def test_bash_which_splits_at_colons_gets_the_last_part_back(ask, line, expected):
    assert ask(bash(["mesascope", *line])) == expected


@pytest.mark.parametrize("name", [name for name in COMMANDS if takes_a_checkpoint(name)])
def test_every_command_that_takes_a_checkpoint_completes_it(ask, name):
    assert ask(bash(["mesascope", name, "zoo:lst"])) == ["zoo:lstm"]


def test_zsh_completes_commands_and_the_zoo(ask):
    zsh = {"_MESASCOPE_COMPLETE": "complete_zsh"}
    found = "".join(ask(zsh | {"_TYPER_COMPLETE_ARGS": "mesascope id"}))
    assert '"identify":"Say' in found and "report" not in found
    found = "".join(ask(zsh | {"_TYPER_COMPLETE_ARGS": "mesascope identify zoo:lst"}))
    assert '"zoo\\\\:lstm"' in found and "lsa" not in found


def test_other_shells_are_left_as_they_are():
    assert whole_words({}) == {} and whole_words({"_MESASCOPE_COMPLETE": "complete_zsh"}) == {}


def test_every_specimen_is_offered():
    assert complete_checkpoint("") == ZOO


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_real_bash_completes_with_the_script_that_the_program_shows():
    script = f"""
source <({PROGRAM} --show-completion bash)
COMP_WORDS=({PROGRAM} identify zoo : lst); COMP_CWORD=4
_mesascope_completion {PROGRAM}
echo "${{COMPREPLY[@]}}"
"""
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert found.stdout.split() == ["lstm"], found.stderr


def test_completion_is_installed_for_bash(run, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    # Typer otherwise looks for the shell among the processes above, of which a test may have none.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    code, out, err = run("--install-completion", "bash")
    assert code == 0 and "bash completion installed" in out and err == ""
    (script,) = (path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".bashrc")
    assert "_MESASCOPE_COMPLETE=complete_bash" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()


def test_a_key_does_not_wait_for_what_is_heavy():
    program = "import sys, mesascope.cli.completion as c; c.complete_checkpoint('zoo:'); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "False"
