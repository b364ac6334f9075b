"""What a section of the report is, and what it is made from."""

from __future__ import annotations

__all__ = ["Material", "Section"]

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from resnet_deploy.report.chain import ChainNode
from resnet_deploy.report.figures.canvas import Chart
from resnet_deploy.report.gather import Findings
from resnet_deploy.report.networks import Network


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """All that a section may speak of."""

    findings: Findings
    networks: Sequence[Network]
    chain: Sequence[ChainNode]


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One section.

    Attributes:
        name: Its template is `templates/<name>.html.j2`, its anchor `#<name>`.
        title: In the list of sections.
        heading: Above it.
        data: What its template reads, as `s`.
        charts: Figures, shown where the template says.
        is_folded: It begins closed: long, and seldom wanted.
    """

    name: str
    title: str
    heading: str
    data: dict[str, Any] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
    is_folded: bool = False
