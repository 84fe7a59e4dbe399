import pytest
import torch
from safetensors.torch import load_file

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, RegressorConfig
from mesascope.models.training.checkpoints import RunFolder


def test_weights_are_kept_by_step_and_as_the_runs_model(tmp_path):
    folder = RunFolder.create(tmp_path / "run", LinearRegression())
    model = HookedRegressor(RegressorConfig(n_dims=2, n_points=3, n_layers=1, n_heads=1, d_model=4, d_head=4))
    folder.checkpoint(7, model)
    folder.write_model(model)
    for path in (tmp_path / "run" / "checkpoints" / "step_7.safetensors", tmp_path / "run" / "model.safetensors"):
        weights = load_file(path)
        assert weights.keys() == model.weights.keys()
        assert all(torch.equal(weights[name], tensor) for name, tensor in model.weights.items())


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    RunFolder.create(tmp_path, LinearRegression())
    with pytest.raises(MesascopeError, match="already holds a run; continue it with --resume, choose another"):
        RunFolder.create(tmp_path, LinearRegression())
