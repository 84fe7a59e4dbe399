import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from mesascope.analyses import Claim, Result, Scope, measure_performance
from mesascope.analyses.development import Followed


@dataclass(frozen=True)
class Weight(Result):
    """The norm of the query weights, as an analysis of its own."""

    name: ClassVar[str] = "weight"
    title: ClassVar[str] = "Weight"
    question: ClassVar[str] = "How large are the weights?"
    norm: float

    @property
    def claims(self) -> tuple[Claim, ...]:
        half = 0.01
        return (
            Claim("weight.norm", "It is so large.", self.norm, (self.norm - half, self.norm + half), 0.0, "large"),
            Claim("weight.words", "It is large.", None, None, None, "large"),
        )


@dataclass
class Counted:
    """An analysis that remembers at which checkpoints it was called, and may be killed at one."""

    calls: list[str] = field(default_factory=list)
    stop_at: str = ""
    stop_with: BaseException = field(default_factory=KeyboardInterrupt)

    def __call__(self, scope: Scope, n_prompts: int) -> Weight:
        step = scope.source.partition("@step-")[2]
        if step == self.stop_at:
            raise self.stop_with
        self.calls.append(step)
        return Weight(float(scope.hooked.attentions[0].W_Q.detach().norm()))

    @property
    def followed(self) -> dict[str, Followed]:
        return {"weight": Followed(self)}


def performance(n_prompts: int = 100) -> dict[str, Followed]:
    """The loss on few prompts."""
    return {"performance": Followed(lambda scope, n: measure_performance(scope, n_prompts), ids=r"(?!w_std$).*")}


@pytest.fixture
def copy_of_run(tiny_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """A run folder that keeps these steps only (all by default)."""

    def copy(steps: list[int] | None = None, name: str = "run") -> Path:
        folder = tmp_path / name
        shutil.copytree(tiny_run, folder)
        for file in (folder / "checkpoints").iterdir():
            if steps is not None and int(file.stem.removeprefix("step_")) not in steps:
                file.unlink()
        return folder

    return copy


STEPS = [0, 1, 2, 4, 8, 16, 32, 60]
"""What the tiny run keeps."""
