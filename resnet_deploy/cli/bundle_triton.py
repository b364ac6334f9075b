"""`resnet-deploy bundle BUNDLE --format triton`: a bundle's model repository for Triton, and `bundle verify` of one."""

from __future__ import annotations

__all__ = ["is_repository", "verify_repository", "write_repository"]

from pathlib import Path

import typer

from resnet_deploy.cli.render import note, print_data, print_json, table
from resnet_deploy.core.errors import ArtifactMismatchError, ConfigError, ExitCode


def write_repository(
    files: list[Path], out: Path | None, options_file: Path | None, *, force: bool, json: bool
) -> None:
    """Write the repository of the one bundle in `files` and say what is in it.

    Args:
        out: Folder to write; beside the bundle, NAME.triton, where it is None.
        options_file: TOML file of the numbers; every default where it is None.
    """
    from resnet_deploy.core.config import load_toml
    from resnet_deploy.pipeline.triton import make_triton_repository
    from resnet_deploy.ship.triton.options import TritonOptions

    if len(files) != 1 or not files[0].is_dir():
        raise ConfigError(
            f"--format triton takes the folder of one bundle, got {', '.join(map(str, files))}",
            remedy="make a bundle first: resnet-deploy bundle FILE..., then: resnet-deploy bundle NAME.bundle --format triton",
        )
    bundle = files[0]
    out = out if out is not None else bundle.with_name(f"{bundle.name.removesuffix('.bundle')}.triton")
    options = load_toml(TritonOptions, options_file) if options_file is not None else TritonOptions()
    record = make_triton_repository(bundle, out, options, force=force)
    if json:
        print_json(record)
    else:
        rows = ((entry.path, f"{entry.size_bytes:,}") for entry in record.files)
        print_data(table(f"{out}: {', '.join(record.models)}", ("file", "bytes"), rows, left=1))
    for line in record.notes:
        note(f"note: {line}")
    read = f"read back by {record.checked_by}" if record.checked_by else "not read back: tritonclient is not installed"
    note(f"{out}: checked by Triton's rules, {read}; serve it: tritonserver --model-repository={out}")


def is_repository(path: Path) -> bool:
    """Whether it is a folder that `write_repository` wrote."""
    from resnet_deploy.ship.triton.manifest import TRITON_MANIFEST_FILE

    return (path / TRITON_MANIFEST_FILE).is_file()


def verify_repository(folder: Path, *, json: bool) -> None:
    """Say whether every file is as it was written; exit code 1 where one is not."""
    from resnet_deploy.core.config import to_plain
    from resnet_deploy.ship.triton.manifest import verify_triton_repository

    try:
        record = verify_triton_repository(folder)
    except ArtifactMismatchError as error:
        if json:
            print_json({"passed": False, "path": folder, "problem": error.message, "remedy": error.remedy or ""})
        note(str(error))
        raise typer.Exit(ExitCode.CHECK_FAILED) from error
    if json:
        print_json({"passed": True, "path": folder, **to_plain(record)})
    origin = f"bundle {record.bundle} {record.bundle_version}, SHA-256 {record.bundle_sha256[:12]}..."
    note(f"{folder}: passed, {len(record.files)} files as they were written from {origin}")
