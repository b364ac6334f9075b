"""The machine of the measurements and the versions of everything that had a part."""

from __future__ import annotations

__all__ = ["environment_section"]

from collections.abc import Sequence

from resnet_deploy.report.documents import Entry
from resnet_deploy.report.sections.section import Material, Section


def environment_section(material: Material) -> Section | None:
    """Machines, then versions; None where no file says either."""
    environments = list({repr(b.environment): b.environment for b in material.findings.benchmarks}.values())
    versions = _versions(material.findings.entries)
    if not environments and not versions:
        return None
    return Section(
        name="environment",
        title="Environment",
        heading="Machine and versions",
        data={"environments": environments, "versions": versions},
    )


def _versions(entries: Sequence[Entry]) -> dict[str, str]:
    """Every package that had a part in a file; several versions are all named."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        for name, version in entry.manifest.versions.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}
