"""Building the C++ SDK into a cache of this user, once for each state of its sources and each set of options."""

from __future__ import annotations

__all__ = ["InstalledSdk", "SdkBuildOptions", "build_sdk", "copy_sdk", "installed_sdk"]

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy import __version__
from resnet_deploy.core.errors import ArtifactError, ConfigError, MissingDependencyError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.ship.sdk_cmake import find_cmake, run_cmake
from resnet_deploy.ship.sdk_sources import sdk_sources, sources_sha256

_STAMP = Path("share") / "resnet_deploy" / "build.json"
_DEFINE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(:[A-Z]+)?=.*")


_ROOTS = {
    "OpenVINO_DIR": "openvino",
    "ONNXRUNTIME_ROOT": "onnxruntime",
    "TENSORRT_ROOT": "tensorrt",
    "TENSORRT_RTX_ROOT": "tensorrt_rtx",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SdkBuildOptions:
    """How to build.

    Args:
        cache: Folder of this user that holds build folders and finished prefixes.
        jobs: Compilers at the same time.
        defines: NAME=VALUE for CMake, as after -D; they win over what is found here.
        force: Build again even where a finished prefix is there.
    """

    cache: Path
    jobs: int = 1
    defines: tuple[str, ...] = ()
    force: bool = False

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ConfigError(f"jobs is {self.jobs}, at least 1 was expected", remedy="--jobs 2")
        for define in self.defines:
            if not _DEFINE.fullmatch(define):
                raise ConfigError(f"{define!r} is no CMake definition", remedy="-D NAME=VALUE")
            name, folder = _name_of(define), define.partition("=")[2]
            if name in _ROOTS and folder and not Path(folder).is_dir():
                raise ConfigError(
                    f"{name} is {folder}: no such folder, so the backend {_ROOTS[name]} would be left out",
                    remedy=f"-D {name}=FOLDER, an absolute path",
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledSdk:
    """A finished installation.

    Args:
        prefix: For CMAKE_PREFIX_PATH.
        version: Of the SDK.
        backends: Those that were built, by name.
        sources: Folder it was built from.
        defines: What CMake was given.
    """

    prefix: Path
    version: str
    backends: tuple[str, ...]
    sources: Path
    defines: tuple[str, ...]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Backends whose folder was named and which were not built: their headers are not in it."""
        named = [_ROOTS[name] for define in self.defines if (name := _name_of(define)) in _ROOTS]
        return tuple(name for name in named if name not in self.backends)


def installed_sdk(cache: Path) -> InstalledSdk:
    """The prefix that was last built from the present sources.

    Raises:
        MissingDependencyError: None was.
    """
    sources = sdk_sources()
    folder = _folder_of(cache, sources)
    stamps = sorted(folder.glob(f"*/{_STAMP}"), key=lambda path: path.stat().st_mtime_ns)
    stamps = [path for path in stamps if not _is_partial(path.parents[len(_STAMP.parts) - 1])]
    if not stamps:
        raise MissingDependencyError(
            f"the C++ SDK {__version__} has not been built on this machine (looked in {folder})",
            remedy="resnet-deploy cpp-path --build",
        )
    return _read(stamps[-1], sources)


def build_sdk(options: SdkBuildOptions, *, progress: Progress = NO_PROGRESS) -> InstalledSdk:
    """Configure, build and install; what is up to date is left as it is, what was interrupted goes on.

    The prefix appears in one rename, so there is never half of one.

    Raises:
        MissingDependencyError: CMake, a compiler or a library is not here; the remedy names its package.
        ResnetDeployError: The build failed; the message ends with the compiler's words.
    """
    sources = sdk_sources()
    defines = (*_found_here(options.defines), *options.defines)
    key = hashlib.sha256("\0".join(defines).encode()).hexdigest()[:8]
    prefix = _folder_of(options.cache, sources) / key
    build = prefix.with_name(f"{key}.build")
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with _lock(prefix.with_name(f"{key}.lock")):
        stamp = prefix / _STAMP
        if stamp.is_file() and not options.force:
            os.utime(stamp)  # the one that `installed_sdk` gives from now on
            return _read(stamp, sources)
        if options.force:
            shutil.rmtree(build, ignore_errors=True)
        staged = _build(sources, build, defines, options.jobs, progress)
        backends = sorted(path.stem.split("_deploy_", 1)[1] for path in staged.glob("lib/resnet_deploy/*.so"))
        (staged / _STAMP).parent.mkdir(parents=True, exist_ok=True)
        (staged / _STAMP).write_text(
            json.dumps({"version": __version__, "backends": backends, "defines": defines}, indent=1) + "\n"
        )
        shutil.rmtree(prefix, ignore_errors=True)
        os.replace(staged, prefix)
        shutil.rmtree(build, ignore_errors=True)
        return _read(stamp, sources)


def copy_sdk(sdk: InstalledSdk, prefix: Path) -> InstalledSdk:
    """Copy an installation, which has no absolute paths of its own, into `prefix`; each file appears whole.

    Raises:
        ArtifactError: `prefix` is a file.
    """
    if prefix.exists() and not prefix.is_dir():
        raise ArtifactError(f"{prefix} is a file, a folder was expected", remedy="name another --prefix")
    for source in sorted(sdk.prefix.rglob("*")):
        target = prefix / source.relative_to(sdk.prefix)
        if source.is_dir() and not source.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
            continue
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            shutil.copy2(source, partial, follow_symlinks=False)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    return _read(prefix.resolve() / _STAMP, sdk.sources)


def _build(sources: Path, build: Path, defines: tuple[str, ...], jobs: int, progress: Progress) -> Path:
    """Configure, build and install into a folder beside the prefix; gives that folder."""
    cmake = find_cmake()
    build.mkdir(parents=True, exist_ok=True)
    generator = ("-G", "Ninja") if shutil.which("ninja") and not (build / "Makefile").exists() else ()
    given = [f"-D{define}" for define in ("CMAKE_BUILD_TYPE=Release", "CMAKE_INSTALL_LIBDIR=lib", *defines)]
    progress.start("configuring the C++ SDK", None)
    run_cmake([cmake, "-S", str(sources), "-B", str(build), *generator, *given], log=build / "configure.log")
    progress.start(f"building the C++ SDK with {jobs} processes", None)
    run_cmake([cmake, "--build", str(build), "--parallel", str(jobs)], log=build / "build.log")
    staged = build.with_suffix(".part")
    shutil.rmtree(staged, ignore_errors=True)
    run_cmake([cmake, "--install", str(build), "--prefix", str(staged)], log=build / "install.log")
    return staged


def _found_here(given: tuple[str, ...]) -> Iterator[str]:
    """Definitions that fit this machine, but for those that were given.

    A runtime that lies in this Python environment with its headers is built for, and found again when the prefix is
    used: it is for this machine, so that paths of this machine may be in it.
    """
    names = {_name_of(define) for define in given}
    if "RD_INSTALL_RPATH" not in names:
        yield "RD_INSTALL_RPATH=ON"
    spec = importlib.util.find_spec("openvino")
    if spec is not None and spec.submodule_search_locations and "OpenVINO_DIR" not in names:
        folder = Path(spec.submodule_search_locations[0]) / "cmake"
        if (folder / "OpenVINOConfig.cmake").is_file():
            yield f"OpenVINO_DIR={folder}"


def _name_of(define: str) -> str:
    return re.split("[:=]", define)[0]


def _folder_of(cache: Path, sources: Path) -> Path:
    return cache / f"{__version__}-{sources_sha256(sources)[:12]}"


def _is_partial(prefix: Path) -> bool:
    return prefix.suffix in (".part", ".build")


def _read(stamp: Path, sources: Path) -> InstalledSdk:
    prefix = stamp.parents[len(_STAMP.parts) - 1]
    try:
        record = json.loads(stamp.read_text())
        return InstalledSdk(
            prefix=prefix,
            version=record["version"],
            backends=tuple(record["backends"]),
            sources=sources,
            defines=tuple(record["defines"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{stamp} is damaged: {error}", remedy="resnet-deploy cpp-path --build --force") from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One build of a prefix at a time; a second process waits, then finds it finished."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
