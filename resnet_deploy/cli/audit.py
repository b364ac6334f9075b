"""`resnet-deploy audit`: what TensorRT will make of a Q/DQ graph."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import JSON
from resnet_deploy.cli.render import note, print_data, print_json, table

_SHOWN_NODES = 3


def command(
    file: Annotated[Path, typer.Argument(help="ONNX file with Q/DQ nodes, of `quantize` or of any other tool.")],
    float_ok: Annotated[
        Optional[list[str]],
        typer.Option("--float-ok", help="Name of a layer that may stay in floating point; repeatable."),
    ] = None,
    json: JSON = False,
) -> None:
    """Say which layers run in INT8, which additions fuse, which Q/DQ pairs are in the way; runs and builds nothing.

    Exit code 1 where a layer has a quantised input but does not run in INT8, or TensorRT would refuse the file.
    """
    from resnet_deploy.core.config import to_plain
    from resnet_deploy.core.errors import ExitCode
    from resnet_deploy.graph.external_data import read_onnx_with_data
    from resnet_deploy.quant.audit import audit_model

    model, _ = read_onnx_with_data(file)
    audit = audit_model(model, float_ok=tuple(float_ok or ()))
    if json:
        print_json({"file": str(file), "passed": audit.passed, "summary": audit.summary, **to_plain(audit)})
    else:
        _show(audit, str(file))
    if not audit.passed:
        note(_why_failed(audit))
        raise typer.Exit(ExitCode.CHECK_FAILED)
    if audit.precision == "float":
        note(f"{file} holds no Q/DQ: nothing was to be INT8")


def _show(audit, name: str) -> None:
    columns = ("layer", "operator", "activation", "weight", "scales", "in", "out", "why not")
    if audit.layers:
        print_data(table(f"Layers of {name}", columns, (_layer_row(layer) for layer in audit.layers), left=8))
    if audit.additions:
        rows = ((a.node, "fuses" if a.fuses else "alone", a.convolution or a.reason) for a in audit.additions)
        print_data(table("Residual additions", ("addition", "", "with, or why not"), rows, left=3))
    if audit.pools:
        rows = ((p.node, p.op_type, "int8" if p.int8 else "float", p.reason) for p in audit.pools)
        print_data(table("Pools", ("pool", "operator", "runs in", "note"), rows, left=4))
    if audit.findings:
        print_data(table("Findings", ("finding", "number", "at", "what"), _finding_rows(audit), left=4))
    if audit.reformats:
        rows = ((r.tensor, r.to, r.reason) for r in audit.reformats)
        print_data(table("Reformats expected", ("tensor", "to", "why"), rows, left=3))
    print_data(audit.summary)


def _layer_row(layer) -> tuple[str, ...]:
    why = "; ".join(layer.problems) or ("" if layer.int8_out or not layer.int8_in else layer.out_reason)
    if layer.accepted and not layer.int8_in:
        why = f"accepted: {why}" if why else "accepted"
    return (
        layer.node,
        layer.op_type,
        layer.activation,
        layer.weight,
        str(layer.num_weight_scales or "-"),
        layer.activation if layer.int8_in else "FLOAT" if layer.failed else "float",
        layer.activation if layer.int8_out else "float",
        why,
    )


def _finding_rows(audit) -> list[tuple[str, int, str, str]]:
    """One row for all findings of the same words."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for finding in audit.findings:
        nodes.setdefault((finding.kind, finding.message), []).append(finding.node)
    return [
        (kind, len(found), ", ".join(found[:_SHOWN_NODES]) + (", ..." if len(found) > _SHOWN_NODES else ""), message)
        for (kind, message), found in nodes.items()
    ]


def _why_failed(audit) -> str:
    parts = []
    if failed := audit.failed_layers:
        shown = ", ".join(layer.node for layer in failed[:_SHOWN_NODES]) + (
            ", ..." if len(failed) > _SHOWN_NODES else ""
        )
        what = "1 layer has" if len(failed) == 1 else f"{len(failed)} layers have"
        parts.append(f"{what} a quantised input but not all it takes to run in INT8: {shown}")
    if refused := audit.of_kind("refused"):
        parts.append(f"TensorRT would refuse {refused[0].node}: {refused[0].message}")
    return "audit failed: " + "; ".join(parts)
