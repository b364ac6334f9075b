"""Thresholds chosen by their effect on the margin."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.source import open_images, stratified_sample
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.graph.torch_graph import TorchGraph
from resnet_deploy.graph.torch_ops import fake_quantize
from resnet_deploy.quant.auto_scales import NUM_CANDIDATES, auto_amax
from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate
from resnet_deploy.quant.placement import find_placement
from resnet_deploy.quant.statistics import TensorStatistics
from resnet_deploy.quant.table import read_table


@pytest.fixture
def network(calibrated):
    """Model, its images, and the statistics of its tensors."""
    model = read_onnx(calibrated)
    source = stratified_sample(open_images("digits", split="train"), 24, seed=0)
    preprocess = read_manifest(calibrated, kind="onnx").preprocess
    images = np.concatenate([b.images for b in input_batches(source, preprocess, batch_size=24)])
    tensors = find_placement(model).tensors
    statistics = {name: TensorStatistics() for name in tensors}
    with torch.no_grad():
        values = TorchGraph(model).run({"images": torch.from_numpy(images)}, tensors)
    for name, value in zip(tensors, values, strict=True):
        statistics[name].update(value.numpy(), name=name)
    return model, images, statistics


def test_the_choice_is_nearly_the_best_by_brute_force(network):
    """The oracle rounds one tensor with every threshold and runs the network on."""
    model, images, statistics = network
    chosen = auto_amax(model, statistics, images, num_images=len(images))
    graph, batch = TorchGraph(model), torch.from_numpy(images)

    def margins(change):
        with torch.no_grad():
            (logits,) = graph.run({"images": batch}, change=change)
        return logits

    plain = margins({})
    best = plain.topk(2, dim=1).indices

    def error(name, amax, qmax=127):
        moved = (
            margins({name: lambda v: fake_quantize(v, torch.tensor(amax / qmax, dtype=torch.float32), high=qmax)})
            - plain
        )
        moved = moved.gather(1, best)
        return float((moved[:, 0] - moved[:, 1]).square().mean())

    for name in list(statistics)[1:4]:
        candidates = statistics[name].largest * np.linspace(1.0, 0.2, NUM_CANDIDATES)
        for amax, qmax in zip(chosen[name], (127, 255), strict=True):
            errors = [error(name, candidate, qmax) for candidate in candidates]
            # First order against all orders, on 24 images: within a factor of 2 of the best, far below the worst.
            assert error(name, amax, qmax) <= 2 * min(errors)
            assert max(errors) > 20 * min(errors)
    assert chosen["images"].unsigned is None  # it has negative values


def test_order_and_threads_leave_no_trace(network):
    model, images, statistics = network
    first = auto_amax(model, statistics, images, num_images=len(images), num_threads=1)
    assert auto_amax(model, statistics, images[::-1], num_images=len(images), num_threads=3) == first


def test_a_tensor_that_is_always_zero_gets_zero(network):
    model, images, statistics = network
    name = list(statistics)[2]
    empty = TensorStatistics()
    empty.update(np.zeros(4, np.float32), name=name)
    assert auto_amax(model, {**statistics, name: empty}, images, num_images=len(images))[name] == (0.0, 0.0)


def test_calibrate_takes_it_by_default_and_gives_the_same_table_for_any_threads(calibrated):
    files = []
    for threads in (1, 3):
        out = calibrated.with_name(f"{threads}.calib.json")
        options = CalibrateOptions(onnx=calibrated, data="digits", num_images=12, num_threads=threads, out=out)
        files.append(calibrate(options).file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert read_table(files[0]).method == "auto"


def test_the_caller_s_threads_are_as_they_were(network):
    model, images, statistics = network
    before = torch.get_num_threads()
    auto_amax(model, statistics, images[:1], num_images=1)
    assert torch.get_num_threads() == before


def test_an_operator_that_has_no_gradient_here_is_named(network):
    model, images, statistics = network
    model.graph.node.append(onnx.helper.make_node("Celu", ["logits"], ["other"], name="other"))
    from resnet_deploy.core.errors import GraphError

    with pytest.raises(GraphError, match="Celu"):
        auto_amax(model, statistics, images, num_images=1)
