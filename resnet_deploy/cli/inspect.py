"""`resnet-deploy inspect`: what a file is and where it comes from."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from resnet_deploy.cli.layers import (
    LayerOptions,
    realised_precision,
    save_layer_picture,
    show_realised,
    why_not_as_asked,
)
from resnet_deploy.cli.options import JSON
from resnet_deploy.cli.render import note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from resnet_deploy.engine.inspection.inspect import Inspection
    from resnet_deploy.pipeline.realised_result import Realised

# details of an engine that are among its facts
_SHOWN_AS_FACTS = (
    *("product", "product_version", "target_mask", "driver", "platform"),
    *("preprocess", "stripped", "refittable", "hardware_compatibility", "version_compatible"),
)


def command(
    file: Annotated[
        list[Path],
        typer.Argument(help="Engines, ONNX files, checkpoints, or any file that has a manifest.", show_default=False),
    ],
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare an engine's layers with what its ONNX file asks for.")
    ] = False,
    layers_from: Annotated[
        Optional[Path],
        typer.Option("--layers-from", help="Take them from a file of trtexec --exportLayerInfo; implies --layers."),
    ] = None,
    onnx: Annotated[
        Optional[Path],
        typer.Option("--onnx", help="--layers: the ONNX file; without it, the one in the engine's manifest."),
    ] = None,
    picture: Annotated[
        Optional[Path], typer.Option("--picture", help="--layers: draw the layers in order (.png or .svg).")
    ] = None,
    float_ok: Annotated[
        Optional[list[str]],
        typer.Option("--float-ok", help="--layers: a layer that may run in another type than asked; repeatable."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="--layers: fail on results left in float and additions left alone, too.")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="--layers: load an engine that its manifest does not vouch for.")
    ] = False,
    json: JSON = False,
) -> None:
    """Say what files are, whether they are whole, and what they were made from; runs nothing in them.

    --layers loads the engine on a GPU to ask it, if there is one. Exit code 1 where a file is not the one its manifest
    describes, or a layer does not run in the precision that was asked for.
    """
    from resnet_deploy.engine.inspection.inspect import Inspection, inspect_files

    asked = _layer_options(
        file, layers, onnx=onnx, layers_from=layers_from, picture=picture, float_ok=float_ok, strict=strict, trust=trust
    )
    answers = inspect_files(file)
    found = [answer for answer in answers if isinstance(answer, Inspection)]
    refused = [answer for answer in answers if not isinstance(answer, Inspection)]
    realised = None
    if asked is not None and found:
        realised, source = realised_precision(Path(found[0].file), asked)
        if asked.picture is not None:
            save_layer_picture(realised, asked.picture, Path(found[0].file).name)
    if json:
        print_json(answers if realised is None else _with_layers(found[0], realised, str(source)))
    else:
        for inspection in found:
            _show(inspection)
        if realised is not None:
            show_realised(realised, found[0].file)
    broken = [inspection for inspection in found if not inspection.sound]
    for inspection in broken:
        note(f"{inspection.file}: manifest {inspection.manifest_state}")
    for refusal in refused:
        note(f"error: {refusal.error}\nremedy: {refusal.remedy}")
    if refused:
        raise typer.Exit(ExitCode.BAD_INPUT)
    failed = why_not_as_asked(realised, strict=strict) if realised is not None else ""
    if failed:
        note(failed)
    if broken or failed:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _layer_options(files: list[Path], layers: bool, **given: Any) -> LayerOptions | None:
    """What --layers was given with; None where it was not asked for."""
    if not layers and given["layers_from"] is None:
        if idle := [f"--{name.replace('_', '-')}" for name, value in given.items() if value]:
            raise ConfigError(f"{', '.join(idle)}: only with --layers", remedy="add --layers, or leave it away")
        return None
    if len(files) != 1:
        raise ConfigError(f"--layers is for one file, got {len(files)}", remedy="ask one engine at a time")
    return LayerOptions(**{**given, "float_ok": tuple(given["float_ok"] or ())})


def _with_layers(inspection: Inspection, realised: Realised, onnx: str) -> dict[str, Any]:
    from resnet_deploy.core.config import to_plain

    verdict = {name: getattr(realised, name) for name in ("summary", "passed", "passed_strictly", "is_expectation")}
    return {"inspection": inspection, "layers": {"onnx": onnx, **verdict, **to_plain(realised)}}


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
    return isinstance(value, (str, int, float)) and len(str(value)) <= 80 and name not in _SHOWN_AS_FACTS


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
