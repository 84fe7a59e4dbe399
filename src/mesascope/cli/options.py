"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from mesascope.cli.completion import complete_checkpoint

Ckpt = Annotated[
    str,
    typer.Argument(
        metavar="CKPT",
        help="A run folder (mesascope's or Garg et al.'s), matrices as FILE.npz, hf://OWNER/NAME or zoo:NAME; "
        "…@step-N for a checkpoint of a run, …@untrained for its twin.",
        autocompletion=complete_checkpoint,
    ),
]

Seed = Annotated[int, typer.Option(help="Seed of every prompt and resample.")]
Device = Annotated[str, typer.Option(help="Where to run the model: cpu, cuda, cuda:1, …")]
WStd = Annotated[
    float | None,
    typer.Option(help="Scale of w, for checkpoints that do not record it.", show_default="the checkpoint's, or 1"),
]
FitPrompts = Annotated[int, typer.Option("--prompts", min=40, help="Prompts to fit readouts on.")]
ScorePrompts = Annotated[int, typer.Option("--prompts", min=40, help="Prompts to score on.")]
ReadoutPrompts = Annotated[int, typer.Option(min=40, help="Prompts to fit the layers' readouts on.")]
Figures = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write every figure there, each as a page that opens offline.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
