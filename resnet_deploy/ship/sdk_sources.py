"""Where the sources of the C++ SDK lie: inside an installed package, or beside it in a checkout."""

from __future__ import annotations

__all__ = ["UNSHIPPED", "sdk_sources", "source_files", "sources_sha256"]

import hashlib
from pathlib import Path

import resnet_deploy
from resnet_deploy.core.errors import MissingDependencyError

UNSHIPPED = ("tests",)
"""Folders of `cpp/` that a wheel does not carry; `setup.py` leaves out the same."""


def sdk_sources() -> Path:
    """The folder with the SDK's CMakeLists.txt, which `add_subdirectory` takes as well.

    Raises:
        MissingDependencyError: This installation has none.
    """
    package = Path(resnet_deploy.__file__).resolve().parent
    places = (package / "cpp_sdk", package.parent / "cpp")
    for place in places:
        if (place / "CMakeLists.txt").is_file():
            return place
    raise MissingDependencyError(
        f"the C++ SDK's sources are in neither {places[0]} nor {places[1]}",
        remedy="install resnet-deploy from its wheel, or work in a checkout",
    )


def source_files(folder: Path) -> list[str]:
    """Paths relative to `folder` of all that a wheel carries of it, sorted."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if path.parts[0] not in UNSHIPPED)


def sources_sha256(folder: Path) -> str:
    """SHA-256 over names and bytes of `source_files`; a prefix in the cache is named by it."""
    digest = hashlib.sha256()
    for name in source_files(folder):
        content = (folder / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
