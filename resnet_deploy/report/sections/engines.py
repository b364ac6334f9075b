"""The engines: for which GPUs, by which product, and whether they run as asked."""

from __future__ import annotations

__all__ = ["engine_section"]

from typing import Any

from resnet_deploy.report.documents import Entry
from resnet_deploy.report.sections.files import in_order
from resnet_deploy.report.sections.section import Material, Section


def engine_section(material: Material) -> Section | None:
    """A row for each engine; None where none was built."""
    rows = [_row(entry) for entry in in_order(material) if entry.manifest.kind == "engine" and not entry.damage]
    if not rows:
        return None
    return Section(
        name="engines", title="Engines", heading=f"Engines: {len(rows)}", data={"rows": rows}, is_folded=len(rows) > 12
    )


def _row(entry: Entry) -> dict[str, Any]:
    manifest = entry.manifest
    details, options = manifest.details, manifest.options
    product = details.get("product") or options.get("product") or "-"
    targets = details.get("targets") or options.get("targets") or []
    realised, sanity = details.get("realised") or {}, details.get("sanity") or {}
    known = bool(realised.get("known"))
    return {
        "name": entry.name,
        "precision": str(manifest.precision or "-"),
        "product": f"{product} {details.get('product_version') or manifest.versions.get(product, '')}".strip(),
        "targets": targets if isinstance(targets, str) else " ".join(map(str, targets)),
        "as_asked": f"{realised['num_as_asked']} of {realised['num_layers']}" if known else "not known",
        "as_asked_why": realised.get("summary", ""),
        "sanity": sanity.get("state", "not run"),
        "seconds": details.get("seconds"),
        "size_bytes": manifest.size_bytes,
    }
