import io
import re
import sys
from collections.abc import Callable

import pytest

from mesascope.progress import TrainingBar


class Stream(io.StringIO):
    def __init__(self, terminal: bool):
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    @property
    def shown(self) -> str:
        """What a reader sees, without the terminal's control codes."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def attach(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stream]:
    """Put a stream in the place of stderr; within the test, since pytest itself replaces stderr before each."""

    def attached(terminal: bool = True) -> Stream:
        stream = Stream(terminal)
        for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return attached


def test_a_terminal_shows_step_loss_excess_and_time_left(attach):
    terminal = attach()
    with TrainingBar("lsa-2", 10, "least squares") as bar:
        bar.update(4, {"step": 4, "loss": 0.12345, "excess": 0.0678, "held_out": 0.5})
    last = terminal.shown.splitlines()[-1]
    assert "lsa-2" in last and "4/10" in last
    assert "loss 0.123" in last and "0.0678 above least squares" in last
    assert re.search(r"left\s+(\d+:\d\d:\d\d|-:--:--)", last)
    assert "0.5" not in last


def test_before_the_first_record_there_are_dashes(attach):
    terminal = attach()
    with TrainingBar("lsa-2", 10, "least squares") as bar:
        bar.update(1, {})
    last = terminal.shown.splitlines()[-1]
    assert "1/10" in last and "loss –  – above least squares" in last


def test_a_record_without_an_excess_keeps_the_others(attach):
    terminal = attach()
    with TrainingBar("lsa-2", 10, "least squares") as bar:
        bar.update(1, {"step": 1, "loss": 2.0})
        bar.update(2, {"step": 1, "loss": 2.0})
    last = terminal.shown.splitlines()[-1]
    assert "2/10" in last and "loss 2  – above least squares" in last


def test_a_name_that_looks_like_markup_is_shown_as_it_is(attach):
    terminal = attach()
    with TrainingBar("[bold]mine[/bold].yaml", 10, "least squares"):
        pass
    assert "[bold]mine[/bold].yaml" in terminal.shown


def test_a_run_without_steps_has_a_bar_too(attach):
    terminal = attach()
    with TrainingBar("mine", None, "least squares") as bar:
        bar.update(3, {"loss": 1.0})
    assert "loss 1" in terminal.shown


@pytest.mark.parametrize("is_terminal, quiet", [(False, False), (False, True), (True, True)])
def test_nothing_is_shown_where_there_is_no_terminal_or_another_process_speaks(attach, is_terminal, quiet):
    stream = attach(is_terminal)
    with TrainingBar("lsa-2", 10, "least squares", quiet=quiet) as bar:
        bar.update(4, {"loss": 1.0})
    assert stream.getvalue() == ""


def test_the_bar_leaves_the_terminal_as_it_was_when_training_fails(attach):
    terminal = attach()
    with pytest.raises(KeyboardInterrupt), TrainingBar("lsa-2", 10, "least squares"):
        raise KeyboardInterrupt
    # The cursor is hidden while the bar is live.
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1


def test_stopping_early_lets_a_line_follow(attach):
    terminal = attach()
    with TrainingBar("lsa-2", 10, "least squares") as bar:
        bar.update(3, {"loss": 1.0})
        bar.stop()
        sys.stderr.write("stopped\n")
    assert terminal.shown.rstrip().splitlines()[-1] == "stopped"
