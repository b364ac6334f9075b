"""`resnet-deploy inspect`: what a file is and where it comes from."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Any

import typer

from resnet_deploy.cli.options import JSON
from resnet_deploy.cli.render import note, print_data, print_json, table
from resnet_deploy.core.errors import ExitCode


def command(
    file: Annotated[
        list[Path],
        typer.Argument(help="Engines, ONNX files, checkpoints, or any file that has a manifest.", show_default=False),
    ],
    json: JSON = False,
) -> None:
    """Say what files are, whether they are whole, and what they were made from; runs nothing in them."""
    from resnet_deploy.engine.inspect import inspect_file

    found = [inspect_file(path) for path in file]
    if json:
        print_json(found)
    else:
        for inspection in found:
            _show(inspection)
    if broken := [inspection for inspection in found if not inspection.sound]:
        for inspection in broken:
            note(f"manifest {inspection.manifest_state}")
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _show(inspection) -> None:
    rows: list[tuple[str, Any]] = [
        ("kind", inspection.kind),
        ("size", f"{inspection.size_bytes:,} bytes ({inspection.size_bytes / 2**20:.2f} MiB)"),
        ("SHA-256", inspection.sha256),
        ("manifest", inspection.manifest_state.split(":")[0]),
        *inspection.facts.items(),
        *(
            (f"{name} (measured)", _text(value))
            for name, value in inspection.details.items()
            if _is_worth_showing(name, value)
        ),
        ("versions", ", ".join(f"{name} {version}" for name, version in inspection.versions.items()) or "-"),
    ]
    print_data(table(inspection.file, ("what", "value"), rows, left=2))
    if inspection.origins:
        print_data(
            table(
                "Made from",
                ("file", "as", "SHA-256", "state"),
                (("  " * (o.depth - 1) + o.name, o.role, o.sha256[:12], o.state) for o in inspection.origins),
                left=4,
            )
        )


def _is_worth_showing(name: str, value: Any) -> bool:
    shown_already = name in ("product", "product_version", "target_mask")  # among the facts of an engine
    return isinstance(value, (str, int, float)) and len(str(value)) <= 80 and not shown_already


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
