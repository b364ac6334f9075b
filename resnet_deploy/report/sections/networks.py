"""Which networks there are, what they cost, and what their files weigh."""

from __future__ import annotations

__all__ = ["network_section"]

from resnet_deploy.report.figures.sizes import size_chart
from resnet_deploy.report.networks import precisions_of
from resnet_deploy.report.sections.section import Material, Section


def network_section(material: Material) -> Section | None:
    """A row for each network; None where there is none."""
    networks = material.networks
    if not networks:
        return None
    chart = size_chart(networks)
    return Section(
        name="networks",
        title="Networks",
        heading="Networks and sizes",
        data={
            "networks": networks,
            "precisions": precisions_of(networks),
            "has_gpu": any(network.fastest(on_gpu=True) for network in networks),
            "has_untrained": any(network.is_untrained for network in networks),
        },
        charts=(chart,) if chart else (),
    )
