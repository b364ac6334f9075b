"""`resnet-deploy bundle`: what ships, in one folder or archive, and whether one that arrived is whole."""

from __future__ import annotations

__all__ = ["command"]

import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from resnet_deploy.cli.files_by_default import FILES, FilesByDefault
from resnet_deploy.cli.options import FORCE, JSON
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode

command = typer.Typer(cls=FilesByDefault)

_BUNDLE = typer.Argument(metavar="BUNDLE", help="A folder NAME.bundle.", show_default=False)
_KEY_HELP = "Private key, Ed25519 in PEM, as `bundle keygen` or `openssl genpkey -algorithm ed25519` makes it."


@command.command(FILES, hidden=True)
def bundle_files(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Engines, for one GPU or several, and at most one ONNX file; best first."
        ),
    ],
    out: Annotated[
        Optional[Path], typer.Option("--out", "-o", help="Folder to write, NAME.bundle [default: NET.bundle].")
    ] = None,
    fallback: Annotated[
        bool,
        typer.Option("--fallback/--no-fallback", help="Without a named ONNX file, take the one the engines came from."),
    ] = True,
    golden: Annotated[
        Optional[Path], typer.Option("--golden", help="JPEG or PNG for the self-test [default: one is made up].")
    ] = None,
    licence: Annotated[
        Optional[Path], typer.Option("--licence", help="Text file: under which terms the weights may be used.")
    ] = None,
    version: Annotated[Optional[str], typer.Option("--version", help="Of the bundle [default: the date].")] = None,
    sign: Annotated[Optional[Path], typer.Option("--sign", metavar="KEY.pem", help=_KEY_HELP)] = None,
    archive: Annotated[bool, typer.Option("--archive", help="Write NAME.bundle.tar.gz, too.")] = False,
    format: Annotated[
        Optional[str],
        typer.Option("--format", metavar="triton", help="Of FILE, a bundle: write its model repository for Triton."),
    ] = None,
    triton: Annotated[
        Optional[Path],
        typer.Option("--triton", metavar="FILE.toml", help="Numbers for it, as the Triton guide has them."),
    ] = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Put engines, ONNX fallback, pixel contract, labels and a self-test into one folder for the C++ library.

    The models must be of one network, with the same labels and preprocessing. SOURCE_DATE_EPOCH is obeyed.
    """
    if format is not None:
        from resnet_deploy.cli.bundle_triton import write_repository

        if format != "triton":
            raise ConfigError(f"--format is {format!r}, expected triton", remedy="leave it away to make a bundle")
        unused = {"--no-fallback": not fallback, "--golden": golden, "--licence": licence, "--version": version}
        unused |= {"--sign": sign, "--archive": archive}
        if given := [name for name, value in unused.items() if value]:
            raise ConfigError(
                f"{', '.join(given)} and --format triton do not go together",
                remedy="give it where the bundle is made; the repository is made of that",
            )
        return write_repository(files, out, triton, force=force, json=json)
    if triton is not None:
        raise ConfigError("--triton is for --format triton, which was not given", remedy="add --format triton")
    from resnet_deploy.pipeline.bundle.given import read_licence
    from resnet_deploy.pipeline.bundle.make import BundleOptions, make_bundle

    options = BundleOptions(
        files=tuple(files),
        out=out if out is not None else files[0].with_name(f"{files[0].name.split('.')[0]}.bundle"),
        fallback=fallback,
        golden=golden,
        licence=read_licence(licence) if licence is not None else None,
        version=version,
        created=_created(),
        private_key=_private_key(sign) if sign is not None else None,
        archive=archive,
        force=force,
    )
    with ProgressBar() as progress:
        result = make_bundle(options, progress)
    if json:
        print_json(result)
    else:
        _show(result)
    for model in result.models:
        note(f"self-test of {model.path} here: {model.run_here}")
    for warning in result.warnings:
        note(f"note: {warning}")
    note(f"{'up to date: ' if result.skipped else ''}{result.file}; check it where it arrives: "
         f"resnet-deploy bundle verify {result.archive or result.file}")  # fmt: skip


@command.command("verify", short_help="Check a bundle or an archive.")
def verify(
    path: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A folder NAME.bundle, or its archive.", show_default=False)
    ],
    public_key: Annotated[
        Optional[Path],
        typer.Option("--public-key", metavar="KEY.pub.pem", help="It must be signed by the owner of this key."),
    ] = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Run its models on the golden image, as far as they run here.")
    ] = True,
    json: JSON = False,
) -> None:
    """Check a bundle; exit code 1 where a check failed, 2 where there is no bundle."""
    from resnet_deploy.cli.bundle_triton import is_repository, verify_repository

    if is_repository(path):
        if public_key is not None:
            raise ConfigError(
                f"{path} is a repository for Triton, which has no signature", remedy="verify the bundle it was made of"
            )
        return verify_repository(path, json=json)
    from resnet_deploy.pipeline.bundle.verify import VerifyOptions, verify_bundle

    key = None
    if public_key is not None:
        from resnet_deploy.ship.signature import read_public_key

        key = read_public_key(public_key)
    with ProgressBar() as progress:
        result = verify_bundle(VerifyOptions(path=path, public_key=key, run=run), progress)
    if json:
        print_json(result)
    else:
        rows = ((check.name, check.state, check.detail) for check in result.checks)
        print_data(table(str(path), ("check", "state", "found"), rows, left=3))
    for check in result.checks:
        if check.remedy:
            note(f"{check.name}: {check.remedy}")
    num_open = sum(str(check.state) == "not run" for check in result.checks)
    left = f", {num_open} check{'s' * (num_open != 1)} not run" if num_open else ""
    note(f"{path}: {'passed' if result.passed else 'FAILED'}{left}")
    if not result.passed:
        raise typer.Exit(ExitCode.CHECK_FAILED)


@command.command("unpack", short_help="Unpack an archive, checked.")
def unpack_archive(
    archive: Annotated[Path, typer.Argument(metavar="NAME.bundle.tar.gz", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make; it is there only if all is well.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    json: JSON = False,
) -> None:
    """Unpack an archive; nothing but the files of its manifest, each with its hash, and nothing outside of --out."""
    from resnet_deploy.ship.archive import unpack

    manifest = unpack(archive, out, replace=force)
    if json:
        print_json({"file": out, "name": manifest.name, "version": manifest.version, "num_files": len(manifest.files)})
    else:
        print_data(f"{out}: {manifest.name} {manifest.version}, {len(manifest.files)} files")
    note(f"check it: resnet-deploy bundle verify {out}")


@command.command("keygen", short_help="Make a pair of keys.")
def keygen(
    out: Annotated[Path, typer.Option("--out", "-o", help="Private key to write; the public one goes beside it.")],
    json: JSON = False,
) -> None:
    """Make an Ed25519 key pair: KEY.pem, which only its owner may read, and KEY.pub.pem, which goes to users."""
    from resnet_deploy.ship.signature import key_fingerprint, make_keys, read_public_key

    public = make_keys(out)
    digest = key_fingerprint(read_public_key(public))
    if json:
        print_json({"private_key": out, "public_key": public, "public_key_sha256": digest})
    else:
        print_data(f"{out}: private key; keep it\n{public}: public key, SHA-256 {digest}")
    note(f"sign with: resnet-deploy bundle FILE... --sign {out}")


@command.command("sign", short_help="Sign a bundle that is there.")
def sign_again(
    bundle: Annotated[Path, _BUNDLE],
    key: Annotated[Path, typer.Option("--key", metavar="KEY.pem", help=_KEY_HELP)],
    archive: Annotated[bool, typer.Option("--archive", help="Write NAME.bundle.tar.gz, too.")] = False,
    json: JSON = False,
) -> None:
    """Sign a bundle that is there, or put another signature in place of its own; its files stay as they are."""
    from resnet_deploy.pipeline.bundle.make import pack_bundle
    from resnet_deploy.ship.archive import ARCHIVE_SUFFIX
    from resnet_deploy.ship.signature import key_fingerprint
    from resnet_deploy.ship.write import sign_bundle

    private = _private_key(key)
    manifest = sign_bundle(bundle, private)
    packed = pack_bundle(bundle) if archive else None
    digest = key_fingerprint(private.public_key())
    if json:
        said = {"file": bundle, "name": manifest.name, "version": manifest.version, "public_key_sha256": digest}
        print_json({**said, "archive": packed})
    else:
        print_data(f"{bundle}: {manifest.name} {manifest.version} signed by {digest}")
    beside = bundle.with_name(f"{bundle.name}{ARCHIVE_SUFFIX}")
    if packed is None and beside.exists():
        note(f"{beside} was packed before; add --archive to pack it again")


def _private_key(file: Path) -> Any:
    from resnet_deploy.ship.signature import read_private_key

    return read_private_key(file)


def _created() -> Any:
    """The time that SOURCE_DATE_EPOCH gives, for bundles that are the same byte by byte; None without it."""
    from datetime import datetime, timezone

    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said is None:
        return None
    try:
        return datetime.fromtimestamp(int(said), tz=timezone.utc)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(
            f"SOURCE_DATE_EPOCH is {said[:40]!r}, expected seconds since 1970", remedy="export SOURCE_DATE_EPOCH=0"
        ) from error


def _times(distance: float) -> str:
    return f"{distance:,.0f}x" if distance >= 100 else f"{distance:.3g}x"


def _show(result: Any) -> None:
    rows = (
        (
            model.path,
            model.product or "ONNX",
            model.precision,
            ", ".join(model.runs_on) or "any",
            model.max_batch or "any",
            f"{model.max_abs_error:.2g}",
            f"{model.nearest_fault}: {_times(model.fault_distance)}",
        )
        for model in result.models
    )
    columns = ("model", "runs on", "precision", "GPUs", "batch", "may differ by", "nearest fault")
    title = f"{result.file}: {result.name} {result.version}, {result.size_bytes / 2**20:.1f} MiB"
    print_data(table(f"{title}, {'signed' if result.is_signed else 'not signed'}", columns, rows, left=4))
    if result.archive is not None:
        print_data(f"archive: {result.archive}, {result.archive.stat().st_size / 2**20:.1f} MiB")
