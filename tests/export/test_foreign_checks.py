"""Digests, and the comparison with an output of the weights' own framework."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_deploy.core.errors import ArtifactMismatchError, DataError
from resnet_deploy.data.preprocess import preprocess
from resnet_deploy.export.checksums import check_file, sha256_of_tensors
from resnet_deploy.export.self_check import run_self_check
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net

SPEC = find_net("resnet8").preprocess


@pytest.fixture
def net():
    return fresh_net(find_net("resnet8"))


@pytest.fixture
def pair(net, tmp_path):
    """An input and what the net gives for it, computed in float64: the correctly rounded answer."""
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = fresh_net(find_net("resnet8")).double()(x.double())
    np.save(tmp_path / "x.npy", x.numpy())
    np.save(tmp_path / "y.npy", y.numpy())
    return tmp_path / "x.npy", tmp_path / "y.npy"


def check(net, pair, *, caffe=False, tolerance=None):
    return run_self_check(net, SPEC, input=pair[0], output=pair[1], caffe=caffe, tolerance=tolerance)


def test_the_right_output_passes_well_within_the_tolerance(net, pair):
    outcome = check(net, pair)
    assert outcome and (outcome.num_rows, outcome.num_same_top1, outcome.compared) == (3, 3, "logits")
    layers, largest_sum = 8, 64 * 9  # 7 convolutions and the classifier; 64 channels of 3x3
    assert outcome.tolerance == pytest.approx(layers * largest_sum**0.5 * 2**-24)
    assert outcome.max_relative_difference < outcome.tolerance / 4


def permuted(net):
    net.layer2[0].conv2.weight.data = net.layer2[0].conv2.weight.data.flip(0)


def blue_first(net):
    net.conv1.weight.data = net.conv1.weight.data.flip(1)


def other_epsilon(net):
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3


def one_weight(net):
    net.layer3[0].conv1.weight.data[0, 0, 1, 1] += 0.01


@pytest.mark.parametrize("fault", [permuted, blue_first, other_epsilon, one_weight])
def test_a_planted_fault_fails(fault, net, pair):
    fault(net)
    outcome = check(net, pair)
    assert not outcome and outcome.max_relative_difference > 3 * outcome.tolerance


def test_a_given_tolerance_is_used(net, pair):
    one_weight(net)
    difference = check(net, pair).max_relative_difference
    assert check(net, pair, tolerance=1.01 * difference) and not check(net, pair, tolerance=0.99 * difference)


def probabilities(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.float32(e / e.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("fault", [permuted, blue_first, other_epsilon, one_weight])
def test_given_probabilities_find_the_same_faults(fault, net, pair):
    np.save(pair[1], probabilities(np.load(pair[1])))
    outcome = check(net, pair)
    assert outcome and outcome.compared == "log-probabilities"
    # two logits against each other, and a scale that may be smaller than the largest logit
    assert outcome.tolerance < 20 * 8 * 576**0.5 * 2**-24
    fault(net)
    assert not check(net, pair)


def test_probabilities_too_small_for_float32_are_left_out(net, pair):
    with torch.no_grad():
        net.fc.weight *= 200  # a range of logits that no float32 probability can hold
        logits = net(torch.from_numpy(np.load(pair[0]))).double().numpy()
    given = probabilities(logits)
    assert (given == 0).any()
    np.save(pair[1], given)
    assert check(net, pair)
    np.save(pair[1], given[:, ::-1])
    assert not check(net, pair)


def test_forms_of_the_input(net, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    x = preprocess(pixels, SPEC)
    with torch.no_grad():
        np.save(tmp_path / "y.npy", net(torch.from_numpy(x)[None])[0].numpy())  # [K]
    output = tmp_path / "y.npy"
    assert check(net, (tmp_path / "x.png", output)).read_as.startswith("an image")
    np.savez(tmp_path / "both.npz", input=x[::-1], output=np.load(output))  # B G R, as a Caffe blob; [3, H, W]
    both = (tmp_path / "both.npz", tmp_path / "both.npz")
    assert check(net, both, caffe=True) and not check(net, both)
    crop = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "u8.npy", crop)
    with torch.no_grad():
        np.save(output, net(torch.from_numpy(np.stack([preprocess(c, SPEC) for c in crop]))).numpy())
    assert check(net, (tmp_path / "u8.npy", output)).read_as.startswith("8-bit")


def test_files_that_can_not_be_compared_are_named(net, pair, tmp_path):
    x, y = pair
    np.save(tmp_path / "short.npy", np.load(y)[:2])
    np.save(tmp_path / "nan.npy", np.full((3, 10), np.nan))
    np.save(tmp_path / "grey.npy", np.zeros((1, 1, 32, 32), np.float32))
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    (tmp_path / "cut.npy").write_bytes(y.read_bytes()[:100])
    for files, message in (
        ((x, tmp_path / "short.npy"), r"short\.npy has shape \[2, 10\], the net gives \[3, 10\]"),
        ((x, tmp_path / "nan.npy"), r"nan\.npy holds float64 of shape \[3, 10\], expected finite"),
        ((tmp_path / "grey.npy", y), r"grey\.npy holds float32 of shape \[1, 1, 32, 32\]"),
        ((x, tmp_path / "two.npz"), r"two\.npz holds a, b, expected one array, or one named 'output'"),
        ((x, tmp_path / "cut.npy"), r"cut\.npy is not a whole"),
        ((tmp_path / "none.png", y), r"none\.png: no such file"),
    ):
        with pytest.raises(DataError, match=message):
            check(net, files)


def test_a_file_is_held_against_the_digits_in_its_name(tmp_path):
    digest = hashlib.sha256(b"weights").hexdigest()
    right = tmp_path / f"resnet50-{digest[:8]}.pth"
    right.write_bytes(b"weights")
    assert check_file(right, sha256=None).expected_by == "file name"
    assert check_file(right, sha256=digest.upper()).expected_by == "--sha256"
    wrong = tmp_path / "resnet50-0676ba61.pth"
    wrong.write_bytes(b"weight")
    with pytest.raises(ArtifactMismatchError, match=r"begins with 0676ba61, it is [0-9a-f]{16}\.\.\."):
        check_file(wrong, sha256=None)
    assert check_file(wrong, sha256=hashlib.sha256(b"weight").hexdigest()).expected_by == "--sha256"
    with pytest.raises(ArtifactMismatchError, match="--sha256 says 00000000"):
        check_file(wrong, sha256="00000000")
    for name in ("resnet50.pth", "resnet50-v1-caffe.pth", "resnet50-a1_0.pth"):
        (tmp_path / name).write_bytes(b"w")
        assert check_file(tmp_path / name, sha256=None).expected == ""
    (tmp_path / "mine-20240131.pth").write_bytes(b"w")
    assert "taken for a date" in check_file(tmp_path / "mine-20240131.pth", sha256=None).note


def test_the_tensors_digest_tells_values_names_and_shapes_apart():
    state = {"a": torch.arange(6.0), "b": torch.ones(2, 3)}
    digest = sha256_of_tensors(state)
    assert digest == sha256_of_tensors(dict(reversed(state.items())))
    assert digest == sha256_of_tensors({**state, "bn.num_batches_tracked": torch.tensor(3)})
    others = (
        {**state, "a": torch.arange(6.0).flip(0)},
        {**state, "a": state["a"].reshape(2, 3)},
        {**state, "a": state["a"].double()},
        {"c": state["a"], "b": state["b"]},
    )
    assert len({digest, *map(sha256_of_tensors, others)}) == 5
