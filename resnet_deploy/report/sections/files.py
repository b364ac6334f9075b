"""The chain of files: from weights to engine and verdict, every hash, every link that no longer holds."""

from __future__ import annotations

__all__ = ["in_order", "provenance_section"]

from resnet_deploy.report.documents import Entry
from resnet_deploy.report.numbers import plural
from resnet_deploy.report.sections.section import Material, Section


def provenance_section(material: Material) -> Section | None:
    """The tree of files; None where the folder holds none with a manifest."""
    if not material.chain:
        return None
    num_files = sum(node.num_files for node in material.chain)
    faults = sum(node.num_faults for node in material.chain)
    return Section(
        name="provenance",
        title="Provenance",
        heading="Where every file comes from",
        data={"roots": material.chain, "num_files": num_files, "faults": faults, "text": _text(num_files, faults)},
        is_folded=num_files > 40 and not faults,
    )


def in_order(material: Material) -> list[Entry]:
    """By network, each from checkpoint to verdict; what belongs to no network comes last."""
    owned = [entry for network in material.networks for entry in network.entries]
    names = {entry.name for entry in owned}
    return [*owned, *(entry for entry in material.findings.entries if entry.name not in names)]


def _text(num_files: int, faults: int) -> str:
    if faults:
        return (
            f"{plural(faults, 'link')} of {plural(num_files, 'file')} no longer {'holds' if faults == 1 else 'hold'}."
        )
    return f"{plural(num_files, 'file')}; every recorded hash is that of the file that lies there."
