"""Train a model."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mesascope.cli.app import app
from mesascope.cli.console import command_line
from mesascope.cli.options import Device

if TYPE_CHECKING:
    from mesascope.models import RunConfig
    from mesascope.models.training.tracking import Tracker


@app.command(
    epilog="Examples: [bold]mesascope train lsa-2 --out runs/lsa-2[/], "
    "[bold]mesascope train my.yaml --out runs/mine[/], "
    "[bold]torchrun --nproc-per-node 2 -m mesascope train fu2024/isotropic --out runs/two[/]"
)
def train(
    preset: Annotated[
        str, typer.Argument(metavar="PRESET|FILE.yaml", help="A bundled preset, or a file of the same form.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The run folder.")],
    seed: Annotated[int | None, typer.Option(help="Seed of weights and data.", show_default="the preset's")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of steps.", show_default="the preset's")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in DIR, or start it.")] = False,
    device: Device = "cpu",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log to TensorBoard too, in DIR.")] = False,
    wandb: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Log to this project of Weights & Biases too.")
    ] = None,
) -> None:
    """Train a model and leave a run folder."""
    from mesascope.models import train as run
    from mesascope.models.training.processes import world_and_rank
    from mesascope.progress import TrainingBar

    config = _config(preset, seed, steps)
    is_main = world_and_rank()[1] == 0  # under torchrun one process speaks for all
    trackers = _trackers(config, out, tensorboard, wandb) if is_main else []
    n_steps = None if config.training is None else config.training.n_steps
    with TrainingBar(preset, n_steps, config.reference().label, quiet=not is_main) as bar:
        try:
            run(config, out, resume=resume, device=device, on_step=bar.update, trackers=trackers)
        except KeyboardInterrupt:
            bar.stop()
            if is_main:
                print(_stopped(out), file=sys.stderr)
            raise typer.Exit(1) from None
    if is_main:
        print(out)


def _config(preset: str, seed: int | None, steps: int | None) -> "RunConfig":
    """The preset's, with what is asked for instead."""
    from mesascope import __version__
    from mesascope.models.training.presets import read_preset

    config = read_preset(preset)
    if config.training is not None and steps is not None:
        config = config.model_copy(update={"training": config.training.model_copy(update={"n_steps": steps})})
    seed = config.seed if seed is None else seed
    return config.model_copy(update={"seed": seed, "version": __version__, "command": command_line()})


def _trackers(config: "RunConfig", out: Path, tensorboard: bool, wandb: str | None) -> list["Tracker"]:
    from mesascope.models.training.tracking import TensorBoard, WeightsAndBiases

    trackers: list[Tracker] = []
    if tensorboard:
        trackers.append(TensorBoard(out / "tensorboard"))
    if wandb is not None:
        trackers.append(WeightsAndBiases(wandb, out, config.model_dump(mode="json")))
    return trackers


def _stopped(out: Path) -> str:
    from mesascope.models.training.checkpoints import RunFolder

    found = RunFolder(out).read_trainer()
    if found is None:
        return "stopped before the first step"
    return f"stopped; {out} is saved at step {found[0]}: continue with --resume"
