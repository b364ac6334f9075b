"""What an engine's header and manifest say of it, in words."""

from __future__ import annotations

__all__ = ["engine_facts", "tensor_text"]

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.engine.header import read_engine_header


def engine_facts(file: Path, manifest: Manifest | None) -> dict[str, Any]:
    """Facts by name, in the order to show; a manifest of an earlier release lacks some.

    Raises:
        ArtifactError: Damaged, or no engine.
    """
    header = read_engine_header(file)
    details = manifest.details if manifest else {}
    targets = header.targets or tuple(details.get("targets", ()))
    facts: dict[str, Any] = {
        "product": f"{header.product} {header.version}",
        "runs on": ", ".join(targets) if targets else "the GPU it was built on (its header does not say which)",
    }
    if header.target_mask is not None:
        facts["target mask"] = f"{header.target_mask:#x}"
    if manifest is None:
        return facts
    if gpu := details.get("gpu"):
        facts["built on"] = f"{gpu['name']}, compute capability {gpu['compute_capability']}"
    if details.get("platform"):
        facts["built under"] = str(details["platform"])
    if details.get("driver"):
        facts["driver at build time"] = f"CUDA {details['driver']}"
    facts |= _profile_facts(details)
    for role in ("inputs", "outputs"):
        facts[role] = "; ".join(tensor_text(tensor) for tensor in details.get(role, ()))
    facts |= _kind_facts(details)
    if "log" in details:
        facts["build log"] = _log_text(details["log"])
    if isinstance(realised := details.get("realised"), Mapping):
        facts["precision, asked and realised"] = str(realised.get("summary", "unknown"))
    if isinstance(sanity := details.get("sanity"), Mapping):
        reason = f": {sanity['reason']}" if sanity.get("reason") else ""
        facts["sanity gate"] = f"{sanity.get('state', 'unknown')}{reason}"
    return facts


def tensor_text(tensor: Mapping[str, Any]) -> str:
    """E.g. "images float32 [N, 3, 224, 224]"."""
    return f"{tensor['name']} {tensor['dtype']} [{', '.join(map(str, tensor['shape']))}]"


def _profile_facts(details: Mapping[str, Any]) -> dict[str, str]:
    if "profiles" not in details:
        return {}
    texts = [
        " to ".join("x".join(map(str, profile[end])) for end in ("min", "max"))
        + f", tuned for {'x'.join(map(str, profile['opt']))}"
        for profile in details["profiles"]
    ]
    if len(texts) < 2:
        return {"shapes": texts[0] if texts else "as the inputs say, fixed"}
    return {f"shapes, profile {index}": text for index, text in enumerate(texts)}


def _kind_facts(details: Mapping[str, Any]) -> dict[str, str]:
    facts = {}
    if "stripped" in details or "refittable" in details:
        weights = "left out, to be refitted before it runs" if details.get("stripped") else "inside"
        can_refit = details.get("refittable") and not details.get("stripped")
        facts["weights"] = weights + (", can be refitted" if can_refit else "")
    if details.get("hardware_compatibility") not in (None, "none"):
        facts["hardware compatibility"] = str(details["hardware_compatibility"])
    if details.get("version_compatible"):
        facts["version compatible"] = "yes: later versions of the same major run it, too"
    return facts


def _log_text(log: list[Any]) -> str:
    counts = Counter(entry[0] for entry in log if isinstance(entry, (list, tuple)) and entry)
    shown = ", ".join(f"{count} {severity}" for severity, count in counts.most_common())
    return f"{len(log)} messages" + (f": {shown}" if shown else "")
