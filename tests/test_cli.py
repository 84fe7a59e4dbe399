import json
import os
import shlex
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from mesascope import __version__, analyses
from mesascope.analyses import registry, specimens
from mesascope.analyses.matching import selftest as matching_selftest
from mesascope.analyses.matching.selftest import ConstructionCase, ConstructionTest
from mesascope.analyses.report import write
from mesascope.cli import COMMANDS, app, main
from mesascope.models import HookedRegressor, RunConfig, load, save
from mesascope.models.formats import zoo_names
from mesascope.models.training import GramTrainer
from mesascope.models.training.presets import preset_names, read_preset

from .conftest import tiny

Run = Callable[..., tuple[int, str, str]]
GARG = Path(__file__).parent / "data" / "garg-d5"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program with these arguments: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def program(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mesascope", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        out, err = capsys.readouterr()
        return code, out, err

    return program


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same analyses on fewer prompts than are worth believing."""
    monkeypatch.setattr(specimens, "survey_zoo", partial(specimens.survey_zoo, 40))
    monkeypatch.setattr(analyses, "fit_readouts", partial(analyses.fit_readouts, n_scored=400))
    monkeypatch.setattr(registry, "fit_readouts", partial(registry.fit_readouts, n_scored=100))
    monkeypatch.setattr(registry, "identify", partial(registry.identify, n_prompts=200, n_tune=80, shifts=False))
    monkeypatch.setattr(registry, "measure_response", partial(registry.measure_response, n_prompts=100))
    monkeypatch.setattr(registry, "measure_similarity", partial(registry.measure_similarity, n_prompts=800))


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """A preset of three steps; JSON is YAML."""
    path = tmp_path / "mine.yaml"
    config = tiny().model_dump(mode="json")
    config["training"] |= {"n_steps": 3, "batch_size": 8}
    path.write_text(json.dumps(config))
    return path


def is_one_line_error(err: str, *parts: str) -> bool:
    return (
        err.startswith("error: ")
        and err.count("\n") == 1
        and "Traceback" not in err
        and all(part in err for part in parts)
    )


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


def test_report_writes_two_files_and_prints_where(run, tiny_run, tmp_path):
    out = tmp_path / "new folder" / "report"
    code, stdout, stderr = run("report", tiny_run, "--out", out, "--prompts", "100", "--seed", "3", "--w-std", "0.5")
    assert code == 0
    assert stdout.splitlines() == [str(out / "report.html"), str(out / "report.json")]
    assert stderr == "" or stderr.startswith("warning: ")  # no bar where there is no terminal
    content = json.loads((out / "report.json").read_text())
    assert content["seed"] == 3 and content["task"]["w_std"] == 0.5
    assert shlex.split(content["command"]) == ["mesascope", *sys.argv[1:]]


def test_a_report_on_the_wrong_scale_of_w_warns_on_stderr(run, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ANALYSES", {"performance": registry.ANALYSES["performance"]})
    code, stdout, stderr = run("report", GARG, "--out", tmp_path)
    assert code == 0 and len(stdout.splitlines()) == 2
    assert stderr.startswith("warning: ") and "--w-std" in stderr


def test_report_refuses_an_output_folder_that_cannot_be_written(run, tiny_run, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = run("report", tiny_run, "--out", tmp_path / "file" / "x")
    assert code == 1 and out == ""
    assert is_one_line_error(err, "cannot write to", "Not a directory", "choose another folder")


def test_probe_prints_a_table(run, tiny_run):
    code, out, err = run("probe", tiny_run, "--prompts", "400")
    assert code == 0 and err == ""
    assert all(word in out for word in ("layer 1", "shuffled", "untrained", "decodable"))


@pytest.mark.parametrize("target", ["y", "w", "w_ols"])
def test_probe_prints_json_for_machines(run, tiny_run, target):
    code, out, err = run("probe", tiny_run, "--json", "--prompts", "400", "--target", target)
    assert code == 0 and err == ""
    content = json.loads(out)
    assert content["data"]["target"] == target
    assert [layer["label"] for layer in content["data"]["layers"]] == ["input", "layer 1"]
    assert len(content["claims"]) == 2


def test_probe_names_the_nearest_target(run, tiny_run):
    code, _, err = run("probe", tiny_run, "--target", "w_osl")
    assert code == 1 and is_one_line_error(err, "'w_osl'; did you mean 'w_ols'?")


def test_inspect_says_what_a_checkpoint_is(run, tiny_run):
    code, out, err = run("inspect", tiny_run)
    assert code == 0 and err == ""
    assert all(word in out for word in ("A specimen for tests.", "n_dims=2", "linear_regression", "least squares"))
    assert "blocks.0.hook_resid_post" in out


def test_inspect_prints_json_for_machines(run, tiny_run):
    code, out, _ = run("inspect", tiny_run, "--json")
    content = json.loads(out)
    assert code == 0
    assert content["model"]["config"]["d_model"] == 3
    assert content["task"]["n_points"] == 7
    assert "blocks.0.attn.hook_pattern" in content["hooks"]
    assert content["performance"]["claims"]


@pytest.mark.parametrize("w_std", [None, 5**-0.5])
def test_inspect_asks_for_the_scale_of_w_where_it_is_not_recorded(run, w_std):
    code, out, _ = run("inspect", GARG, *([] if w_std is None else ["--w-std", w_std]))
    assert code == 0
    assert ("warning:" in out) is (w_std is None)


@pytest.mark.skipif(not zoo_names(), reason="the zoo is filled by `make zoo`")
def test_zoo_lists_every_specimen_in_a_narrow_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run("zoo")
    assert code == 0 and err == ""
    assert all(f" {name} " in out for name in zoo_names())
    assert all(heading in out for heading in ("zoo:", "layers", "task", "loss", "reference"))
    assert "squares" in out.split()  # words stay whole


@pytest.mark.skipif(not zoo_names(), reason="the zoo is filled by `make zoo`")
def test_zoo_prints_json_for_machines(run):
    rows = json.loads(run("zoo", "--json")[1])
    assert [row["name"] for row in rows] == [f"zoo:{name}" for name in zoo_names()]
    assert all(row["about"] and row["kind"] and row["reference"] for row in rows)
    assert all(isinstance(row["loss"], float) and isinstance(row["reference_loss"], float) for row in rows)


def test_inspect_and_report_take_a_model_of_tokens_and_refuse_what_it_has_not(run, tmp_path):
    config = read_preset("induction")
    folder = tmp_path / "untrained"
    save(HookedRegressor(config.model), folder, config.task, "Never trained.")
    code, out, err = run("inspect", folder)
    assert code == 0 and err == "" and "prefix matching" in out and "w_std" not in out
    code, out, err = run("probe", folder, "--prompts", "40")
    assert code == 1 and out == "" and is_one_line_error(err, "repeated_sequence is no regression task")
    code, out, err = run("inspect", folder, "--w-std", "0.5")
    assert code == 1 and out == "" and is_one_line_error(err, "w_std=0.5", "repeated_sequence")
    code, out, err = run("report", folder, "--out", tmp_path / "report")
    assert code == 0 and err == ""
    assert list(json.loads((tmp_path / "report" / "report.json").read_text())["analyses"]) == ["performance"]


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


def test_train_leaves_a_run_folder_that_says_how_it_was_made(run, preset, tmp_path):
    code, out, err = run("train", preset, "--out", tmp_path / "run")
    assert (code, out, err) == (0, f"{tmp_path / 'run'}\n", "")
    config = RunConfig.model_validate_json((tmp_path / "run" / "config.json").read_text())
    assert config.version == __version__
    assert config.command == shlex.join(["mesascope", "train", str(preset), "--out", str(tmp_path / "run")])
    assert load(tmp_path / "run").seed == 0
    assert (tmp_path / "run" / "checkpoints" / "step_3.safetensors").is_file()


def test_seed_and_steps_overrule_the_preset(run, preset, tmp_path):
    code, _, _ = run("train", preset, "--out", tmp_path / "run", "--seed", "7", "--steps", "2")
    assert code == 0
    config = RunConfig.model_validate_json((tmp_path / "run" / "config.json").read_text())
    assert config.seed == 7 and config.training is not None and config.training.n_steps == 2
    assert not (tmp_path / "run" / "checkpoints" / "step_3.safetensors").exists()


def test_train_refuses_a_folder_that_holds_a_run(run, preset, tiny_run):
    before = (tiny_run / "model.safetensors").read_bytes()
    code, _, err = run("train", preset, "--out", tiny_run)
    assert code == 1 and is_one_line_error(err, "already holds a run; continue it with --resume, choose another --out")
    assert (tiny_run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "name, parts",
    [
        (preset_names()[0][:-1], [f"did you mean '{preset_names()[0]}'?"]),
        ("not/there.yaml", ["cannot read not/there.yaml"]),
    ],
)
def test_an_unknown_preset_is_one_line_with_the_nearest_name(run, tmp_path, name, parts):
    code, _, err = run("train", name, "--out", tmp_path / "run")
    assert code == 1 and is_one_line_error(err, *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change, part",
    [
        (lambda config: config["training"].update(n_steps=0), "training.gram.n_steps"),
        (lambda config: config.update(modle=1), "modle"),
        (lambda config: config.pop("model"), "model"),
        (lambda config: config.pop("training"), "training"),
    ],
    ids=["value", "unknown field", "missing field", "no training"],
)
def test_a_preset_that_is_no_run_is_one_line_that_names_the_field(run, preset, tmp_path, change, part):
    config = json.loads(preset.read_text())
    change(config)
    preset.write_text(json.dumps(config))
    code, _, err = run("train", preset, "--out", tmp_path / "run")
    assert code == 1 and is_one_line_error(err, part)
    assert not (tmp_path / "run").exists()


def at_step(monkeypatch: pytest.MonkeyPatch, index: int, happens: Callable[[], None]) -> None:
    """Let something happen while step number `index` (from 0) is taken."""
    step = GramTrainer.step

    def stepped(self: GramTrainer, at: int) -> torch.Tensor:
        if at == index:
            happens()
        return step(self, at)

    monkeypatch.setattr(GramTrainer, "step", stepped)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_finishes_its_step_and_can_be_resumed(run, preset, tmp_path, monkeypatch, which):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 1, lambda: os.kill(os.getpid(), which))
        code, stdout, err = run("train", preset, "--out", out)
    assert code == 1 and stdout == ""
    assert err == f"stopped; {out} is saved at step 2: continue with --resume\n"
    assert load(out).model.cfg.n_dims == 2
    assert not list(out.glob(".*"))  # nothing half-written
    assert run("train", preset, "--out", out, "--resume") == (0, f"{out}\n", "")
    assert run("train", preset, "--out", tmp_path / "whole")[0] == 0
    assert weights(out) == weights(tmp_path / "whole")


def test_a_second_ctrl_c_takes_effect_at_once_and_says_what_was_saved(run, preset, tmp_path, monkeypatch):
    def impatient() -> None:
        # To this very thread: two that wait in the kernel become one.
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    at_step(monkeypatch, 2, impatient)
    code, _, err = run("train", preset, "--out", tmp_path / "run")
    # Three steps: 0, 1, 2 and 3 are on the grid.
    assert code == 1 and err == f"stopped; {tmp_path / 'run'} is saved at step 2: continue with --resume\n"


def test_ctrl_c_before_there_is_a_run_saves_nothing(run, preset, tmp_path, monkeypatch):
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(GramTrainer, "__init__", interrupted)
    code, out, err = run("train", preset, "--out", tmp_path / "run")
    assert (code, out, err) == (1, "", "stopped before the first step\n")
    assert not (tmp_path / "run").exists()


def test_resume_starts_a_run_where_there_is_none_and_ends_one_that_is_done(run, preset, tmp_path):
    out = tmp_path / "run"
    assert run("train", preset, "--out", out, "--resume") == (0, f"{out}\n", "")
    before = weights(out)
    assert run("train", preset, "--out", out, "--resume") == (0, f"{out}\n", "")
    assert weights(out) == before


@pytest.mark.parametrize(
    "options, part",
    [
        (["--seed", "1"], "seed=0, not 1; resume with the same config"),
        (["--steps", "4"], "training.n_steps=3, not 4; resume with the same config"),
    ],
)
def test_a_run_is_not_resumed_as_another_one(run, preset, tmp_path, options, part):
    assert run("train", preset, "--out", tmp_path / "run")[0] == 0
    before = weights(tmp_path / "run")
    code, out, err = run("train", preset, "--out", tmp_path / "run", "--resume", *options)
    assert code == 1 and out == "" and is_one_line_error(err, part)
    assert weights(tmp_path / "run") == before


def test_training_that_diverges_is_one_line_and_keeps_the_last_good_checkpoint(run, preset, tmp_path, monkeypatch):
    monkeypatch.setattr(GramTrainer, "step", lambda self, index: torch.tensor(torch.nan))
    code, out, err = run("train", preset, "--out", tmp_path / "run")
    assert code == 1 and out == "" and is_one_line_error(err, "training diverged at step 1", "Lower training.lr")
    assert load(tmp_path / "run").model.cfg.n_dims == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_one_line_and_leaves_what_was_saved(run, preset, tmp_path, monkeypatch):
    log = tmp_path / "run" / "log.jsonl"

    def fills() -> None:
        log.unlink()
        log.symlink_to("/dev/full")

    with monkeypatch.context() as patch:
        at_step(patch, 2, fills)
        code, out, err = run("train", preset, "--out", tmp_path / "run")
    assert code == 1 and out == ""
    assert is_one_line_error(err, f"cannot write {log}: No space left on device", "free space")
    assert load(tmp_path / "run").model.cfg.n_dims == 2
    log.unlink()
    assert run("train", preset, "--out", tmp_path / "run", "--resume")[0] == 0


def test_a_process_that_is_not_the_first_says_nothing(run, preset, tmp_path, monkeypatch):
    from mesascope import models

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    seen = []
    monkeypatch.setattr(models, "train", lambda config, out, **options: seen.append(options["trackers"]))
    found = run("train", preset, "--out", tmp_path / "run", "--tensorboard", "--wandb", "project")
    assert found == (0, "", "") and seen == [[]]
    assert not (tmp_path / "run").exists()


def test_wandb_that_cannot_start_is_one_line(run, preset, tmp_path, monkeypatch):
    def refuse(**options):
        raise ValueError("No API key\nconfigured.")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(Error=ValueError, init=refuse))
    code, out, err = run("train", preset, "--out", tmp_path / "run", "--wandb", "project")
    assert code == 1 and out == "" and is_one_line_error(err, "Weights & Biases cannot start (No API key configured.)")


def test_tensorboard_has_the_records_of_the_log(run, preset, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    out = tmp_path / "run"
    assert run("train", preset, "--out", out, "--tensorboard")[:2] == (0, f"{out}\n")
    assert list((out / "tensorboard").glob("events.out.tfevents.*"))
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert {"loss", "held_out", "excess"} <= set(events.Tags()["scalars"])
    losses = [(event.step, event.value) for event in events.Scalars("loss")]
    assert losses == [(record["step"], pytest.approx(record["loss"])) for record in records]


@pytest.mark.parametrize(
    "option, module", [(["--wandb", "project"], "wandb"), (["--tensorboard"], "torch.utils.tensorboard")]
)
def test_a_tracker_that_is_not_installed_is_one_line(run, preset, tmp_path, monkeypatch, option, module):
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = run("train", preset, "--out", tmp_path / "run", *option)
    assert code == 1 and out == ""
    assert is_one_line_error(err, f"{option[0].strip('-')} is not installed", "mesascope[track]")
    assert not (tmp_path / "run").exists()


def test_wandb_gets_the_config_and_the_records(run, preset, tmp_path, monkeypatch):
    class Wandb(types.ModuleType):
        def __init__(self) -> None:
            super().__init__("wandb")
            self.Error = RuntimeError
            self.started: dict[str, Any] = {}
            self.logged: list[int] = []
            self.finished = False

        def init(self, **options: object) -> "Wandb":
            self.started = options
            return self

        def log(self, values: dict[str, float], step: int) -> None:
            self.logged.append(step)

        def finish(self) -> None:
            self.finished = True

    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    assert run("train", preset, "--out", tmp_path / "run", "--wandb", "mine")[0] == 0
    assert wandb.started["project"] == "mine" and wandb.started["config"]["training"]["n_steps"] == 3
    assert wandb.logged == [1, 2, 3] and wandb.finished


def test_presets_lists_every_preset_with_what_it_is(run):
    code, out, err = run("presets")
    assert code == 0 and err == ""
    words = set(out.split())
    assert set(preset_names()) <= words
    for name in preset_names():
        assert set(read_preset(name).about.split()) <= words


@pytest.fixture
def quick_identify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Identification against a few families, tuned on few prompts."""
    from mesascope.models.battery import rivals

    def few(scope: Any, **options: Any) -> Any:
        names = ("GD", "Newton", "ridge", "least squares", "averaging")
        sweeps = [sweep for sweep in rivals(scope.regression) if sweep.learner.family in names]
        return identify(scope, n_tune=60, rivals=sweeps, **options)

    identify = analyses.identify
    monkeypatch.setattr(analyses, "identify", few)


IDENTIFY = ("identify", "--prompts", "60", "--readout-prompts", "100")


def test_identify_prints_a_table_and_the_models_verdict(run, tiny_run, quick_identify):
    code, out, err = run(*IDENTIFY, tiny_run)
    assert code == 0
    assert all(word in out for word in ("output", "layer 1", "input", "verdict", "ceiling", "The model"))
    assert "Traceback" not in err
    assert all(line.startswith(("Hardest to tell apart: ", "warning: ")) for line in err.splitlines())


@pytest.mark.parametrize("shifts", [True, False])
def test_identify_prints_json_for_machines(run, tiny_run, quick_identify, shifts):
    code, out, _ = run(*IDENTIFY, tiny_run, "--json", "--seed", "2", *([] if shifts else ["--no-shifts"]))
    content = json.loads(out)
    assert code == 0
    data = content["data"]
    assert (data["n_prompts"], data["seed"]) == (60, 2)
    assert [layer["label"] for layer in data["layers"]] == ["input", "layer 1", "output"]
    assert content["claims"][0]["id"] == "identification.model"
    named = data["layers"][-1]["families"] and not data["layers"][-1]["reason"]
    assert (data["scorecard"] is not None) is bool(shifts and named)


def test_identify_designs_prompts_that_tell_the_nearest_apart(run, tiny_run, quick_identify, monkeypatch):
    from mesascope.analyses.identification import design

    monkeypatch.setattr(design, "N_PROMPTS", 40)
    code, out, err = run(*IDENTIFY, tiny_run, "--discriminating")
    assert code == 0 and "The model" in out
    assert "Designed prompts: " in err


@pytest.mark.parametrize("option", ["--prompts", "--readout-prompts"])
def test_identify_asks_for_enough_prompts(run, tiny_run, option):
    code, out, err = run("identify", tiny_run, option, "39")
    assert code == 2 and out == "" and "Usage" in err


def test_identify_refuses_what_is_no_checkpoint(run):
    code, out, err = run("identify", "no/such/folder")
    assert code == 1 and out == "" and is_one_line_error(err, "no/such/folder")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """A selftest of one case that is right or wrong."""
    from mesascope.analyses.identification import selftest
    from mesascope.analyses.identification.judging import Verdict
    from mesascope.models import Newton

    def plant(right: bool) -> None:
        verdict = Verdict("Newton", ("Newton",)) if right else Verdict("ridge", ("ridge",))
        case = selftest.Case(
            selftest.Plant((Newton(3),)), "isotropic", 0.02, verdict, right, "" if right else "it is not"
        )
        monkeypatch.setattr(selftest, "_planted", lambda *_: iter([case]))
        monkeypatch.setattr(selftest, "_untrained", lambda index: selftest.Untrained(index, "LSTM", ()))

    return plant


@pytest.mark.parametrize("right", [True, False])
def test_selftest_fails_when_a_learner_is_lost(run, planted, right):
    planted(right)
    code, out, err = run("selftest", "--task", "isotropic", "--untrained", "2", "--constructions", "0")
    assert code == (0 if right else 1)
    assert "untrained models" in out and "2 of 2" in out
    if right:
        assert "100.0% of 1 planted cases recovered" in out and err == ""
    else:
        assert "lost: Newton k=3 on isotropic, noise 0.02: ridge; it is not" in out
        assert "failed: Newton: 0 of 1 recovered, expected 90%" in err


@pytest.mark.parametrize("right", [True, False])
def test_selftest_prints_json_for_machines(run, planted, right):
    planted(right)
    options = ("--task", "isotropic", "--untrained", "1", "--constructions", "0", "--json", "--seed", "5")
    code, out, _ = run("selftest", *options)
    content = json.loads(out)
    assert code == (0 if right else 1)
    assert content["seed"] == 5 and content["recovered"] == float(right)
    assert content["untrained"] == [{"seed": 5, "model": "LSTM", "named": []}]
    assert bool(content["failures"]) is not right


def test_selftest_names_the_nearest_task(run):
    code, out, err = run("selftest", "--task", "isotropc")
    assert code == 1 and out == "" and is_one_line_error(err, "'isotropc'", "did you mean 'isotropic'?")


@pytest.mark.parametrize("right", [True, False])
def test_selftest_fails_when_a_construction_is_lost(run, planted, monkeypatch, right):
    planted(True)
    case = ConstructionCase("GD", "1 step of GD", "1 step of GD" if right else "", 1e-7, 0.0)
    monkeypatch.setattr(matching_selftest, "run_construction_test", lambda *_: ConstructionTest((case,), 0))
    code, out, err = run("selftest", "--task", "isotropic", "--untrained", "0")
    assert code == (0 if right else 1) and f"{int(right)} of 1" in out
    assert right or "failed: GD: expected 1 step of GD, got none at distance 1.0e-07" in err


@pytest.mark.parametrize("arguments", [["--each", "0"], ["--untrained", "-1"], ["--constructions", "-1"]])
def test_selftest_refuses_to_plant_nothing(run, arguments):
    code, out, _ = run("selftest", *arguments)
    assert code == 2 and out == ""


# One analysis.


def test_analyse_prints_the_claims_of_one_analysis(run):
    code, out, _ = run("analyse", "zoo:lsa-1", "matching")
    assert code == 0 and "1 step of GD" in out and "η = 2.014" in out


def test_analyse_prints_json_and_writes_figures(run, tmp_path):
    code, out, _ = run("analyse", "zoo:lsa-1", "matching", "--json", "--figures", tmp_path / "figures")
    content = json.loads(out)
    assert code == 0 and content["data"]["verdict"] == "1 step of GD" and content["claims"]
    assert {path.stem for path in (tmp_path / "figures").iterdir()} >= {"matching-distances", "matching-products"}


def test_analyse_names_the_figures_that_it_wrote(run, tmp_path):
    _, out, _ = run("analyse", "zoo:lsa-1", "matching", "--figures", tmp_path)
    assert str(tmp_path / "matching-distances.html") in out


def test_analyse_warns_on_stderr(run, monkeypatch):
    code, _, err = run("analyse", GARG, "performance")
    assert code == 0 and "w_std" in err


@pytest.mark.parametrize(
    "name, part",
    [("machting", "did you mean 'matching'"), ("matching", "matching does not apply to zoo:lstm")],
)
def test_an_analysis_that_is_not_there_or_does_not_apply_is_one_line(run, name, part):
    code, out, err = run("analyse", "zoo:lstm", name)
    assert code == 1 and out == "" and part in " ".join(err.split()) and err.count("error:") == 1
