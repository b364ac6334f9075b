from __future__ import annotations

from dataclasses import replace

import pytest

from resnet_deploy.bench.roofline.estimate import EstimateOptions, estimate
from resnet_deploy.bench.roofline.measured import MeasuredShare
from resnet_deploy.core.specs import Precision
from resnet_deploy.report.roofline_panels import roofline_panels


@pytest.fixture(scope="module")
def result():
    return estimate(
        EstimateOptions(
            nets=("resnet8",), targets=("l4", "t4"), precisions=(Precision.FP16,), batches=(8, 1), layers=True
        )
    )


def test_every_dot_lies_on_its_roof(result) -> None:
    panels = roofline_panels(result)
    assert [panel.title for panel in panels] == ["NVIDIA L4", "NVIDIA T4"]
    for panel in panels:
        assert panel.dots and sum(dot.share for dot in panel.dots) <= 1
        for dot in panel.dots:
            roof = min(panel.roofs[dot.roof], dot.intensity * panel.gb_per_s / 1e3)
            assert dot.tera_operations == pytest.approx(roof)


def test_a_measured_network_lies_under_the_roof_at_its_own_rate(result) -> None:
    row = MeasuredShare(
        net="resnet8", precision="fp16", backend="tensorrt", device="NVIDIA L4", batch=1, target="l4", p50_ms=0.05,
        images_per_second=2e4, bound_latency_ms=None, bound_images_per_second=None, latency_share=None,
        throughput_share=None, dram_latency_share=None, reason="",
    )  # fmt: skip
    (dot,) = (d for p in roofline_panels(replace(result, measured=(row,))) for d in p.dots if d.is_measured)
    operations = 2 * result.networks[0].multiply_adds
    assert dot.tera_operations == pytest.approx(operations / 50e-6 / 1e12)


def test_an_estimate_without_layers_has_no_plot(result) -> None:
    assert roofline_panels(replace(result, layers=())) == ()
