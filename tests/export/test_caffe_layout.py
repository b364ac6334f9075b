from __future__ import annotations

import numpy as np
import pytest
import torch

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError
from resnet_deploy.export.caffe_layout import check_strides, is_caffe_layout, map_caffe
from resnet_deploy.export.caffe_model import CaffeLayerFacts, read_caffemodel
from resnet_deploy.export.foreign import ImportOptions, import_weights
from resnet_deploy.export.recognise import recognise
from resnet_deploy.export.self_check import run_self_check
from resnet_deploy.nets.blocks import Bottleneck
from resnet_deploy.nets.bn_statistics import recompute_bn_statistics
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.checkpoint import load_checkpoint
from tests.reference.caffe_network import BLOCKS, block_names, caffe_blobs, caffemodel_bytes, run_caffe

FACTOR = 999.9826  # what Caffe's moving average ends at: 1 / (1 - 0.999), almost


def as_stored(blobs: dict[str, list[np.ndarray]]) -> dict[str, torch.Tensor]:
    return {f"{n}.{i}": torch.from_numpy(part.copy()) for n, parts in blobs.items() for i, part in enumerate(parts)}


@pytest.fixture(scope="module")
def original():
    """A resnet50-v1-caffe with ten classes as Caffe's blobs (conv1 with a bias), an input, and the oracle's output."""
    torch.manual_seed(3)
    net = build_net(find_net("resnet50-v1-caffe"), num_classes=10)
    for block in (m for m in net.modules() if isinstance(m, Bottleneck)):
        torch.nn.init.uniform_(block.bn3.weight, 0.1, 0.4)  # as trained branches: at 1, roundings grow with depth
    recompute_bn_statistics(net.eval(), [50 * torch.randn(8, 3, 64, 64)])  # pixels of 0 to 255 minus their mean
    rng = np.random.default_rng(0)
    bias = rng.standard_normal(64).astype(np.float32)
    blobs = caffe_blobs(net.state_dict(), 50, factor=FACTOR, conv1_bias=bias)
    data = rng.uniform(-120, 140, (2, 3, 64, 64)).astype(np.float32)
    return net, blobs, data, run_caffe(blobs, 50, data)


def mapped_net(stored, **layers):
    state = map_caffe(stored, layers=layers, source="x")
    found = recognise(state, 10, source="x")
    net = build_net(found.spec, num_classes=10)
    net.load_state_dict(state.tensors, strict=False)
    return net.eval(), found, state


def check(net, folder, data, expected):
    np.save(folder / "x.npy", data)
    np.save(folder / "y.npy", expected)
    spec = find_net("resnet50-v1-caffe").preprocess
    return run_self_check(net, spec, input=folder / "x.npy", output=folder / "y.npy", caffe=True, tolerance=None)


def test_a_caffemodel_becomes_the_net_that_caffe_ran(original, tmp_path):
    net, blobs, data, expected = original
    path = tmp_path / "ResNet-50.caffemodel"
    path.write_bytes(caffemodel_bytes(blobs))
    np.save(tmp_path / "x.npy", data)
    shifted = np.exp(expected - expected.max(axis=1, keepdims=True))
    np.savez(tmp_path / "y.npz", prob=shifted / shifted.sum(axis=1, keepdims=True))  # deploy nets end in a softmax
    result = import_weights(
        ImportOptions(
            file=path,
            out=tmp_path / "n.safetensors",
            check_input=tmp_path / "x.npy",
            check_output=tmp_path / "y.npz",
        )
    )
    assert (result.net, result.layout, result.recognised) == ("resnet50-v1-caffe", "caffe", True)
    assert result.check and result.check.passed and result.check.compared == "log-probabilities"
    assert result.check.read_as.startswith("Caffe's data blob in B G R")
    assert result.num_parameters == result.catalogue_parameters == sum(p.numel() for p in net.parameters())
    loaded = load_checkpoint(result.file).net
    for key, value in net.state_dict().items():
        got = loaded.state_dict()[key]
        if key.endswith(("running_mean", "running_var")):
            # two roundings to float32 (the stored sum, the quotient), each at most 2^-24 of the value; the mean
            # of bn1 is a difference of numbers up to |mean| + |bias|, whose sum was rounded
            bias = torch.from_numpy(blobs["conv1"][1]).abs() if key == "bn1.running_mean" else 0
            assert torch.all((got - value).abs() <= 2.0**-23 * (value.abs() + 2 * bias)), key
        elif not key.endswith("num_batches_tracked"):
            assert torch.equal(got, value), key
    assert len(result.filled) == 53  # one counter a batch norm
    by_key = {k.key: k for k in result.keys}
    assert by_key["conv1.weight"].rules[-1] == "conv1's input channels B G R -> R G B"
    assert by_key["bn1.running_mean"].source == "bn_conv1.0 + bn_conv1.2 + conv1.1"
    assert read_manifest(result.file).details["keys"][0]["source"] == "conv1.0"


def test_the_net_gives_what_caffes_layers_give(original, tmp_path):
    _, blobs, data, expected = original
    net, found, _ = mapped_net(as_stored(blobs))
    assert found.spec.name == "resnet50-v1-caffe" and found.alternatives == ()
    outcome = check(net, tmp_path, data, expected)
    assert outcome and outcome.compared == "logits" and outcome.num_same_top1 == 2
    assert outcome.tolerance < 1e-3


def swap_filters(stored):
    weight = stored["res4c_branch2b.0"]
    stored["res4c_branch2b.0"] = weight[torch.randperm(len(weight), generator=torch.Generator().manual_seed(0))]


def leave_bgr(stored):
    stored["conv1.0"] = stored["conv1.0"].flip(1)


def forget_factor(stored):
    stored["bn3b_branch2a.2"] = torch.ones(1)


def forget_bias(stored):
    stored["conv1.1"] = torch.zeros(64)


@pytest.mark.parametrize("fault", [swap_filters, leave_bgr, forget_factor, forget_bias])
def test_a_planted_fault_fails_the_check(fault, original, tmp_path):
    _, blobs, data, expected = original
    stored = as_stored(blobs)
    fault(stored)
    assert not check(mapped_net(stored)[0], tmp_path, data, expected)


@pytest.mark.parametrize("name", ["resnet50-v1", "resnet50"])
def test_another_pooling_or_stride_fails_the_check(name, original, tmp_path):
    _, blobs, data, expected = original
    net = build_net(find_net(name), num_classes=10)
    net.load_state_dict(map_caffe(as_stored(blobs), source="x").tensors, strict=False)
    assert not check(net.eval(), tmp_path, data, expected)


def test_the_files_own_epsilon_is_kept(original, tmp_path):
    _, blobs, data, _ = original
    expected = run_caffe(blobs, 50, data, eps=1e-3)
    names = [name for name in blobs if name.startswith("bn")]
    right = mapped_net(as_stored(blobs), **{name: CaffeLayerFacts(eps=1e-3) for name in names})
    assert check(right[0], tmp_path, data, expected)
    assert right[2].rule_counts["the file's eps brought to 1e-5 by adding the difference to the variance"] == 53
    assert not check(mapped_net(as_stored(blobs))[0], tmp_path, data, expected)  # eps wrong: caught
    default = mapped_net(as_stored(blobs), **{name: CaffeLayerFacts(eps=float(np.float32(1e-5))) for name in names})
    assert not any("eps" in rule for rule in default[2].rule_counts)


@pytest.mark.parametrize("style", ["named", "slashes", "bare", "wrapped", "batch norm with gamma"])
def test_state_dicts_with_caffes_names_are_the_same_net(style, original):
    _, blobs, _, _ = original
    want = map_caffe(as_stored(blobs), source="x").tensors
    parts = {"bn": ("running_mean", "running_var", "scale_factor"), "sc": ("gamma", "beta")}
    stored = {}
    for name, values in blobs.items():
        for index, value in enumerate(values):
            part = parts.get(name[:2], ("weight", "bias"))[index]
            key = f"{name}.{part}"
            if style == "slashes":
                key = f"{name}/{index}"
            elif style == "bare" and part == "weight" and name != "fc1000":
                key = name
            elif style == "wrapped":
                key = f"module.{key}"
            elif style == "batch norm with gamma" and name.startswith("scale"):
                key = f"bn{name[5:]}.{'weight' if index == 0 else 'bias'}"
            stored[key] = torch.from_numpy(value.copy())
    assert is_caffe_layout(stored)
    got = map_caffe(stored, source="x").tensors
    assert got.keys() == want.keys()
    assert all(torch.equal(got[key], want[key]) for key in want)


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_every_depths_block_names_are_known(depth):
    assert sum(map(len, block_names(depth))) == sum(BLOCKS[depth])
    with torch.device("meta"):
        keys = build_net(find_net(f"resnet{depth}-v1-caffe")).state_dict()
    state = {k: torch.ones(1).expand(v.shape) if v.ndim else torch.zeros(()) for k, v in keys.items()}
    stored = {
        f"{name}.{i}": torch.from_numpy(part)
        for name, parts in caffe_blobs(state, depth, factor=1.0).items()
        for i, part in enumerate(parts)
    }
    assert recognise(map_caffe(stored, source="x"), 1000, source="x").spec.name == f"resnet{depth}-v1-caffe"


def test_what_does_not_belong_is_named(original):
    _, blobs, _, _ = original
    stored = as_stored(blobs)
    for changed, message in (
        ({"inception_3a.0": torch.ones(1)}, "'inception_3a.0' is none of the original Caffe models' layers"),
        ({"bn2a_branch1.7": torch.ones(1)}, "'bn2a_branch1.7' names no part of a Caffe bn layer"),
        ({"bn2a_branch1.2": torch.zeros(1)}, r"'bn2a_branch1.2' is \[0.0\], expected one positive number"),
        ({"bn2a_branch1/0": torch.ones(256)}, "'bn2a_branch1.0' and 'bn2a_branch1/0' are the same mean"),
        ({"conv1.0": torch.ones(64, 1, 7, 7)}, r"'conv1.0' has shape \[64, 1, 7, 7\]"),
    ):
        with pytest.raises(ArtifactError, match=message):
            map_caffe({**stored, **changed}, source="x")
    del stored["scale5c_branch2c.1"]
    with pytest.raises(ArtifactError, match=r"'layer4\.2\.bn3' lacks beta"):
        map_caffe(stored, source="x")


def test_strides_that_the_file_states_must_be_the_nets(tmp_path):
    """A v1.5 net in Caffe's format has v1's keys and shapes; only the file's own strides tell."""
    tiny = {
        "res3a_branch2a": [np.ones((1, 1, 1, 1), np.float32)],
        "res3a_branch2b": [np.ones((1, 1, 3, 3), np.float32)],
    }
    (tmp_path / "n.caffemodel").write_bytes(caffemodel_bytes(tiny))
    _, v1 = read_caffemodel(tmp_path / "n.caffemodel")
    v15 = {"res3a_branch2a": CaffeLayerFacts(stride=1), "res3a_branch2b": CaffeLayerFacts(stride=2)}
    check_strides(find_net("resnet50-v1-caffe"), v1, source="x")
    check_strides(find_net("resnet50"), v15, source="x")
    check_strides(find_net("resnet50"), {}, source="x")  # a state dict does not say
    with pytest.raises(ArtifactMismatchError, match="strides the first 1x1.*resnet50 is v1.5"):
        check_strides(find_net("resnet50"), v1, source="x")
    with pytest.raises(ArtifactMismatchError, match="strides the 3x3.*resnet50-v1-caffe is v1-caffe"):
        check_strides(find_net("resnet50-v1-caffe"), v15, source="x")
