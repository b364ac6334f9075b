from __future__ import annotations

import pytest

from resnet_deploy.bench.advisor.bounds import KERNEL_MS, USUAL_SHARE, roofline_of
from resnet_deploy.bench.advisor.speeds import Key
from resnet_deploy.bench.roofline.bound import estimate_network
from resnet_deploy.bench.roofline.catalogue import find_gpu
from resnet_deploy.core.specs import Precision


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8])
@pytest.mark.parametrize("batch", [1, 64])
def test_the_bound_is_the_rooflines_and_what_is_likely_is_slower(precision, batch):
    gpu = find_gpu("l4")
    bound = roofline_of(gpu)(Key("resnet20", 32, precision, batch))
    whole = estimate_network("resnet20", gpu=gpu, precision=precision, batch=batch)
    assert (bound.latency_ms, bound.images_per_second) == (whole.latency_ms, whole.images_per_second)
    assert bound.limited_by in ("arithmetic", "memory")
    assert bound.likely_ms == max(whole.latency_ms / USUAL_SHARE, whole.dram_latency_ms, whole.num_kernels * KERNEL_MS)
    assert bound.likely_ms > bound.latency_ms and bound.likely_images_per_second <= bound.images_per_second


def test_a_unit_that_the_gpu_has_not_has_no_bound():
    assert roofline_of(find_gpu("t4"))(Key("resnet20", 32, Precision.FP8, 1)) is None


def test_a_tiny_network_is_bound_by_its_kernels_in_practice():
    bound = roofline_of(find_gpu("h100"))(Key("resnet20", 32, Precision.INT8, 1))
    whole = estimate_network("resnet20", gpu="h100", precision=Precision.INT8, batch=1)
    assert bound.likely_ms == whole.num_kernels * KERNEL_MS
