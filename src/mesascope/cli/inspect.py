"""What a checkpoint is."""

import json

from mesascope.cli.app import app
from mesascope.cli.console import attached, escaped, out, print_json
from mesascope.cli.options import AsJson, Ckpt, Device, Seed, WStd


@app.command(epilog="Example: [bold]mesascope inspect zoo:lsa-2[/]")
def inspect(ckpt: Ckpt, seed: Seed = 0, device: Device = "cpu", w_std: WStd = None, as_json: AsJson = False) -> None:
    """Say what a checkpoint is: architecture, task, loss beside the reference learner's, hooks."""
    from mesascope.analyses import measure_performance
    from mesascope.analyses.descriptions import describe_model

    scope = attached(ckpt, seed, device, w_std)
    performance, model = measure_performance(scope, n_prompts=500), describe_model(scope)
    hooks = list(scope.hooked.hook_dict)
    task = scope.task.model_dump(mode="json")
    if as_json:
        content = {
            "checkpoint": ckpt,
            "model": model,
            "task": task,
            "hooks": hooks,
            "performance": performance.to_json(),
        }
        print_json(content)
        return
    console = out()
    console.print(f"[bold]{escaped(ckpt)}[/]  {escaped(str(model.get('about', '')))}")
    for title, fields in [("model", model["config"] | {"n_parameters": model["n_parameters"]}), ("task", task)]:
        console.print(
            f"\n[bold]{title}[/]  " + escaped(", ".join(f"{key}={_short(value)}" for key, value in fields.items()))
        )
    unknown = not model["w_std_known"] and w_std is None
    ask = "  (w_std is not recorded in this checkpoint: state it with --w-std)" if unknown else ""
    console.print(f"\n[bold]loss[/]{ask}")
    for claim in performance.claims:
        console.print(f"  {escaped(claim.text)} [bold]{claim.verdict}[/]")
    for warning in performance.warnings:
        console.print(f"  [bold yellow]warning:[/] {escaped(warning)}")
    console.print(f"\n[bold]hooks[/]  {len(hooks)}, such as {', '.join(scope.hooked.residual_hooks)}")


def _short(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
