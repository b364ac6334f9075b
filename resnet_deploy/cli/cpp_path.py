"""`resnet-deploy cpp-path`: the C++ SDK for CMake."""

from __future__ import annotations

__all__ = ["command"]

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import FORCE, JSON
from resnet_deploy.cli.render import ProgressBar, note, print_json
from resnet_deploy.core.errors import ConfigError


def command(
    build: Annotated[
        bool, typer.Option("--build", help="Configure, build and install it first; needs cmake and a C++ compiler.")
    ] = False,
    prefix: Annotated[
        Optional[Path], typer.Option("--prefix", help="With --build: install there too, and print that.")
    ] = None,
    jobs: Annotated[Optional[int], typer.Option("--jobs", "-j", help="Compilers at the same time.", min=1)] = None,
    defines: Annotated[
        Optional[list[str]],
        typer.Option("-D", metavar="NAME=VALUE", help="For CMake, e.g. -D TENSORRT_ROOT=/opt/TensorRT; repeatable."),
    ] = None,
    sources: Annotated[
        bool, typer.Option("--sources", help="Print the folder of its sources, for add_subdirectory.")
    ] = False,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Print the prefix of the C++ SDK, for CMAKE_PREFIX_PATH.

    cmake -B build -DCMAKE_PREFIX_PATH="$(resnet-deploy cpp-path --build)"
    """
    from resnet_deploy.ship.sdk_build import SdkBuildOptions, build_sdk, copy_sdk, installed_sdk
    from resnet_deploy.ship.sdk_sources import sdk_sources

    if not build and (prefix or jobs or defines or force):
        raise ConfigError("--prefix, --jobs, -D and --force belong to --build, which was not given", remedy="--build")
    if sources:
        if build or json:
            raise ConfigError("--sources is given alone", remedy="leave out the other options")
        typer.echo(sdk_sources())
        return
    if build:
        options = SdkBuildOptions(
            cache=_cache(), jobs=jobs or os.cpu_count() or 1, defines=tuple(defines or ()), force=force
        )
        with ProgressBar() as progress:
            sdk = build_sdk(options, progress=progress)
        if prefix is not None:
            sdk = copy_sdk(sdk, prefix)
        note(f"backends: {', '.join(sdk.backends) or 'none; see docs/reference/cpp-backends.md'}")
        for name in sdk.left_out:
            note(f"note: {name} was left out: its headers are not in the folder that was named")
    else:
        sdk = installed_sdk(_cache())
    if json:
        print_json(sdk)
    else:
        typer.echo(sdk.prefix)  # one line whatever its length: it goes into $(...)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "resnet-deploy" / "cpp"
