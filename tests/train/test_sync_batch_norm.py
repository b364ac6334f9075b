"""Oracle: `nn.BatchNorm2d` in one process on the images of both."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.train.distributed import join_world
from resnet_deploy.train.sync_batch_norm import SyncBatchNorm2d, with_sync_batch_norm
from tests.train.jobs import run_job

CPU = torch.device("cpu")
SHARES = (slice(0, 3), slice(3, 10))  # unequal on purpose


def outcome(norm: nn.Module, images: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Output, gradients and statistics after one training pass whose loss is sum(weights * output)."""
    images = images.clone().requires_grad_()
    output = norm(images)
    (output * weights).sum().backward()
    found = {"output": output.detach(), "images": images.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    return found | {name: value.double() for name, value in norm.named_buffers()}


def differences(kind: str) -> dict[str, float]:
    """Largest difference of each part of `outcome` between this process's share and the whole batch."""
    with join_world(distributed=True) as world:
        generator = torch.Generator().manual_seed(0)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
        images, weights = 3 * draw(10, 5, 4, 3) + 50, draw(10, 5, 4, 3)
        whole = nn.BatchNorm2d(5, dtype=torch.float64)
        with torch.no_grad():
            whole.weight.copy_(draw(5))
            whole.bias.copy_(draw(5))
        own = nn.BatchNorm2d(5, dtype=torch.float64)
        own.load_state_dict(whole.state_dict())
        if kind != "local":
            own = with_sync_batch_norm(nn.Sequential(own), CPU)[0]
        span = SHARES[world.rank]
        if kind == "evaluation":
            whole.eval(), own.eval()
        expected = outcome(whole, images, weights)
        found = outcome(own, images[span], weights[span])
        for name in ("weight", "bias"):
            dist.all_reduce(found[name])
        for name in ("output", "images"):
            expected[name] = expected[name][span]
        return {name: float((found[name] - expected[name]).abs().max()) for name in expected}


@pytest.mark.parametrize("kind", ["synchronised", "evaluation"])
def test_two_processes_equal_one(kind):
    # float64 rounds to 2^-53 = 1e-16; values up to 60, sums of 120 terms: 60 * 120 * 1e-16 < 1e-12, times a few steps
    ended = run_job(differences, kind, size=2)
    assert [process.code for process in ended] == [0, 0]
    for process in ended:
        assert max(process.result.values()) < 1e-11, process.result


def test_local_statistics_are_noticed_by_that_comparison():
    """A planted fault: plain BatchNorm2d in each process."""
    found = run_job(differences, "local", size=2)[0].result
    for part in ("output", "images", "running_mean", "running_var"):
        assert found[part] > 1e-3, part


def test_a_converted_net_keeps_its_keys_its_weights_and_what_it_computes_alone():
    net, plain = (build_net(find_net("resnet8"), num_classes=10) for _ in range(2))
    plain.load_state_dict(net.state_dict())
    converted = with_sync_batch_norm(net, CPU)
    assert [k for k, _ in converted.state_dict().items()] == list(plain.state_dict())
    norms = [m for m in converted.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(m, SyncBatchNorm2d) for m in norms)
    images = torch.randn(4, 3, 32, 32)
    for train in (True, False):
        assert torch.equal(converted.train(train)(images), plain.train(train)(images))
    assert all(torch.equal(a, b) for a, b in zip(converted.buffers(), plain.buffers(), strict=True))


def test_wrong_number_of_dimensions_is_named():
    with pytest.raises(ValueError, match="got 3 dimensions"):
        SyncBatchNorm2d(2)(torch.zeros(1, 2, 3))
