"""Writes the JSON Schema of every document that a command leaves behind; `make schemas`.

The dataclasses are the truth: types come from their annotations, descriptions from their docstrings.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

FOLDER = Path(__file__).resolve().parent
DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENTS = {
    "manifest": ("resnet_deploy.core.artifacts", "Manifest"),
    "verdict": ("resnet_deploy.verify.verdict", "Verdict"),
    "attribution": ("resnet_deploy.verify.attribution.result", "Attribution"),
    "divergence": ("resnet_deploy.verify.faults.divergence_result", "Divergence"),
    "bisection": ("resnet_deploy.verify.faults.bisection_result", "Bisection"),
    "benchmark": ("resnet_deploy.bench.rows", "Benchmark"),
    "comparison": ("resnet_deploy.bench.compare", "BenchComparison"),
    "estimate": ("resnet_deploy.bench.roofline.estimate", "Estimate"),
    "advice": ("resnet_deploy.bench.advisor.advice", "Advice"),
    "bundle": ("resnet_deploy.ship.manifest", "BundleManifest"),
}
"""Document -> the dataclass it holds: module and name."""


def schema_of(document: str) -> dict[str, Any]:
    """The schema of one of DOCUMENTS, in draft 2020-12. A key it does not list is refused, as by our readers."""
    module, name = DOCUMENTS[document]
    kind = getattr(importlib.import_module(module), name)
    schema = TypeAdapter(kind).json_schema(mode="serialization")
    for part in (schema, *schema.get("$defs", {}).values()):
        if part.get("type") == "object":
            _describe(part)
    return {"$schema": DIALECT, "$id": f"{document}.schema.json", **schema}


def text_of(document: str) -> str:
    """What the file of a document holds."""
    return json.dumps(schema_of(document), indent=1, ensure_ascii=False) + "\n"


def path_of(document: str) -> Path:
    """Where the schema of a document is published."""
    return FOLDER / f"{document}.schema.json"


def _describe(part: dict[str, Any]) -> None:
    """Moves each line of a docstring's `Attributes` to its property, and leaves out titles that only repeat names."""
    text, _, attributes = part.get("description", "").partition("Attributes:")
    text = re.sub(r"\s+", " ", text).strip()
    part.pop("description", None)
    if text:
        part["description"] = text
    part["additionalProperties"] = False
    for names, said in re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {8,}.*)*)", attributes, flags=re.MULTILINE):
        for name in names.split(", "):
            if name in part["properties"]:
                part["properties"][name]["description"] = re.sub(r"\s+", " ", said)
    for entry in part["properties"].values():
        entry.pop("title", None)


def main() -> None:
    for document in DOCUMENTS:
        path_of(document).write_text(text_of(document), encoding="utf-8")
        print(path_of(document).name, file=sys.stderr)


if __name__ == "__main__":
    main()
