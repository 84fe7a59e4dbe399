import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mesascope import __version__
from mesascope.cli import COMMANDS, app
from mesascope.models.formats import zoo_names

from .conftest import is_one_line_error


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_an_example(command):
    found = CliRunner().invoke(app, [command, "--help"])
    assert found.exit_code == 0
    assert "Example" in found.output and f"mesascope {command}" in found.output


def test_help_lists_every_command_in_the_order_of_the_table_of_contents():
    found = CliRunner().invoke(app, ["--help"])
    assert found.exit_code == 0
    listed = [line.split()[1] for line in found.output.split("Commands")[1].splitlines() if line.startswith("│ ")]
    assert [command for command in listed if command in COMMANDS] == list(COMMANDS)


def test_without_a_command_the_program_greets_with_commands_that_exist(run):
    code, out, err = run()
    assert code == 0 and err == ""
    told = [line.split() for line in out.splitlines() if line.startswith("  mesascope")]
    assert [words[1] for words in told] == ["zoo", "identify", "report", "--help"]
    for words in told[1:3]:
        assert words[2].removeprefix("zoo:") in zoo_names()


def test_version_is_that_of_the_package(run):
    assert run("--version") == (0, f"{__version__}\n", "")


def test_no_help_waits_for_what_is_heavy():
    program = f"""
import sys
from typer.testing import CliRunner
from mesascope.cli import app
for command in {list(COMMANDS)}:
    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
print(*{{"torch", "plotly", "transformer_lens", "scipy"}} & set(sys.modules))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0 and found.stdout.strip() == ""


def test_the_module_is_the_same_program():
    found = subprocess.run([sys.executable, "-m", "mesascope", "--help"], capture_output=True, text=True)
    assert found.returncode == 0
    assert "mesa-optimizers" in found.stdout and "report" in found.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["reprot"],
        ["report"],
        ["report", "zoo:lsa-1"],  # no --out
        ["report", "zoo:lsa-1", "--out", "x", "--prompts", "39"],
        ["probe", "zoo:lsa-1", "--bogus"],
        ["train", "lsa-1", "--out", "x", "--steps", "0"],
        ["inspect", "zoo:lsa-1", "--seed", "many"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_wrong_usage_exits_with_2(run, arguments):
    code, out, err = run(*arguments)
    assert code == 2 and out == ""
    assert "Usage" in err and "Traceback" not in err


@pytest.mark.parametrize("command", ["report", "probe", "inspect"])
@pytest.mark.parametrize(
    "ckpt, parts",
    [
        ("no/such/folder", ["no/such/folder does not exist; expected a run folder or zoo:NAME"]),
        ("zoo:lsa-l", ["the zoo has no 'lsa-l'"]),
    ],
)
def test_a_checkpoint_that_is_not_there_is_one_line(run, tmp_path, command, ckpt, parts):
    code, out, err = run(command, ckpt, *(["--out", tmp_path] if command == "report" else []))
    assert code == 1 and out == "" and is_one_line_error(err, *parts)


@pytest.mark.parametrize(
    "options, part",
    [
        (["--device", "cuda:99"], "cannot use device 'cuda:99'"),
        (["--w-std", "0"], "w_std=0.0 is no scale; give a positive number"),
    ],
)
def test_a_bad_option_value_is_one_line(run, tiny_run, options, part):
    code, out, err = run("inspect", tiny_run, *options)
    assert code == 1 and out == "" and is_one_line_error(err, part)


def test_markup_in_an_error_is_printed_as_it_is(run):
    assert "[bold]no[/bold] does not exist" in run("inspect", "[bold]no[/bold]")[2]


def test_what_is_not_the_users_mistake_keeps_its_traceback(run, tiny_run, monkeypatch):
    def broken(*args: object, **kwargs: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("mesascope.analyses.attach", broken)
    with pytest.raises(ValueError, match="a bug"):
        run("inspect", tiny_run)
