"""What every analysis leaves behind: a picture, its numbers as JSON beside it, and the manifest of the numbers."""

from __future__ import annotations

__all__ = ["check_common", "check_picture_name", "json_file_of", "picture_file", "write_report"]

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_deploy.core.artifacts import write_manifest
from resnet_deploy.core.config import to_plain
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.files import atomic_write
from resnet_deploy.draw.figure import save_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PACKAGES = ("torch", "numpy", "matplotlib")
_FOLDER = Path("out")


def check_common(options: Any) -> None:
    """Check the fields that the analyses of networks on images share.

    Raises:
        ConfigError: One or more of them are out of range; names all.
    """
    problems = []
    if options.num_images < 0:
        problems.append(f"num_images is {options.num_images}, expected 0 (all) or more")
    if options.batch_size < 1:
        problems.append(f"batch_size is {options.batch_size}, expected at least 1")
    if options.num_threads < 0:
        problems.append(f"num_threads is {options.num_threads}, expected 0 (all) or more")
    if not 0 <= options.seed < 2**32:
        problems.append(f"seed is {options.seed}, expected 0 to {2**32 - 1}")
    if problems:
        raise ConfigError("; ".join(problems))
    check_picture_name(options.out)


def check_picture_name(out: Path | None) -> None:
    """Raises ConfigError where `out` is no name of a PNG file."""
    if out is not None and out.suffix != ".png":
        raise ConfigError(
            f"picture {out} must end in .png (the numbers go beside it, in .json)",
            remedy=f"for example {out.with_suffix('.png')}",
        )


def picture_file(out: Path | None, files: Sequence[Path], what: str) -> Path:
    """Where the picture goes: `out`, else `<stem>.<what>.png` beside the one file, else `out/<what>.png`."""
    if out is not None:
        return out
    if len(files) == 1:
        return Path(files[0]).with_name(f"{Path(files[0]).name.removesuffix('.safetensors')}.{what}.png")
    return _FOLDER / f"{what}.png"


def json_file_of(picture: Path) -> Path:
    """The file of numbers that belongs to a picture."""
    return picture.with_suffix(".json")


def write_report(
    report: Any,
    figure: Figure,
    *,
    picture: Path,
    stage: str,
    inputs: Mapping[str, Path | tuple[str, str]],
    options: Mapping[str, Any],
) -> None:
    """Write the picture, then the numbers, then their manifest.

    Args:
        report: A dataclass; NaN and infinity, which JSON does not have, become null.
    """
    save_png(figure, picture)
    file = json_file_of(picture)
    with atomic_write(file) as partial:
        partial.write_text(json.dumps(_finite(to_plain(report)), indent=1) + "\n", encoding="utf-8")
    write_manifest(file, kind="analysis", stage=stage, inputs=inputs, options=options, packages=_PACKAGES)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(child) for child in value]
    return value
