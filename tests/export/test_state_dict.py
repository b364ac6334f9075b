from __future__ import annotations

import argparse

import numpy as np
import pytest
import torch

from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.export.state_dict import read_weights


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.num_batches_tracked": torch.tensor(7)}


def saved(folder, value, name="w.pth"):
    torch.save(value, folder / name)
    return folder / name


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_an_npz_is_read_without_pickle(state, tmp_path):
    np.savez(tmp_path / "w.npz", **{k: v.numpy() for k, v in state.items()})
    assert same(read_weights(tmp_path / "w.npz").tensors, state)
    np.savez(tmp_path / "bad.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(ArtifactError, match=r"bad\.npz.*holds Python objects"):
        read_weights(tmp_path / "bad.npz")
    data = (tmp_path / "w.npz").read_bytes()
    for share in (0.0, 0.3, 0.9):
        (tmp_path / "cut.npz").write_bytes(data[: int(share * len(data))])
        with pytest.raises(ArtifactError, match=rf"cut\.npz \({int(share * len(data))} bytes\) is not a whole"):
            read_weights(tmp_path / "cut.npz")


def test_a_fortran_ordered_array_keeps_its_values(tmp_path):
    array = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    np.savez(tmp_path / "w.npz", a=array)
    assert torch.equal(read_weights(tmp_path / "w.npz").tensors["a"], torch.arange(12.0).reshape(3, 4))


def test_a_training_checkpoint_says_what_else_it_holds(state, tmp_path):
    ema = {k: v + 1 for k, v in state.items()}
    file = saved(tmp_path, {"model": state, "model_ema": ema, "epoch": 3, "args": argparse.Namespace(lr=0.1)})
    stored = read_weights(file)
    assert stored.entry == "model" and same(stored.tensors, state)
    assert stored.beside == {
        "model_ema": "another state dict; --entry takes it instead",
        "epoch": "training state, not weights",
        "args": "training state, not weights",
    }
    assert same(read_weights(file, entry="model_ema").tensors, ema)
    with pytest.raises(ConfigError, match="no state dict 'ema'; it holds model, model_ema"):
        read_weights(file, entry="ema")


def test_an_entry_inside_an_entry(state, tmp_path):
    file = saved(tmp_path, {"model": {"state_dict": state, "epoch": 3}, "ema": {"shadow": state}})
    assert read_weights(file).entry == "model.state_dict"
    assert read_weights(file, entry="model").entry == "model.state_dict"
    stored = read_weights(file, entry="ema.shadow")
    assert stored.entry == "ema.shadow" and same(stored.tensors, state)
    with pytest.raises(ConfigError, match="no state dict 'model.weights'"):
        read_weights(file, entry="model.weights")


def test_an_entry_of_a_bare_state_dict_is_refused(state, tmp_path):
    with pytest.raises(ConfigError, match="no state dict 'model'; it holds a bare state dict"):
        read_weights(saved(tmp_path, state), entry="model")
    np.savez(tmp_path / "w.npz", a=np.ones(2))
    with pytest.raises(ConfigError, match="no entry 'model'"):
        read_weights(tmp_path / "w.npz", entry="model")


class Callable:
    def __reduce__(self):
        return (argparse.Namespace, ())


class Recorder(argparse.Namespace):
    pass


def test_only_a_namespace_itself_is_let_in(state, tmp_path):
    assert same(read_weights(saved(tmp_path, {"model": state, "x": Callable()})).tensors, state)
    with pytest.raises(ArtifactError, match=r"holds more than tensors \(.*Recorder\)"):
        read_weights(saved(tmp_path, {"model": state, "args": Recorder()}))


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.caffemodel: no such file; expected a .*\.npz or \.caffemodel"):
        read_weights(tmp_path / "none.caffemodel")
    with pytest.raises(ArtifactError, match="a folder"):
        read_weights(tmp_path)
