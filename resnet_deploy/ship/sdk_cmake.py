"""Running CMake, and its failures in words that say what to install."""

from __future__ import annotations

__all__ = ["PACKAGES", "find_cmake", "run_cmake"]

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from resnet_deploy.core.errors import MissingDependencyError, ResnetDeployError

PACKAGES = "cmake ninja-build g++ libjpeg-dev libpng-dev libssl-dev nlohmann-json3-dev"
"""Of Debian and Ubuntu: all that the core library is built with."""

_INSTALL = f"apt-get install {PACKAGES} (Debian, Ubuntu)"
_LAST_LINES = 15


def find_cmake() -> str:
    """The program's path.

    Raises:
        MissingDependencyError: It is not on PATH.
    """
    found = shutil.which("cmake")
    if found is None:
        raise MissingDependencyError("cmake is not on PATH; the C++ SDK is built with it", remedy=_INSTALL)
    return found


def run_cmake(command: Sequence[str], *, log: Path) -> None:
    """Run one step with its whole output in `log`.

    Raises:
        MissingDependencyError: A compiler, a library or a newer CMake is missing.
        ResnetDeployError: It failed otherwise.
    """
    with open(log, "w", encoding="utf-8") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise _error_of(log.read_text(encoding="utf-8", errors="replace"), log)


def _error_of(output: str, log: Path) -> ResnetDeployError:
    lines = output.splitlines()
    if "resnet_deploy: libraries are missing:" in output:
        begin = next(i for i, line in enumerate(lines) if "libraries are missing:" in line)
        named = [line.strip() for line in lines[begin + 1 :] if ": Debian " in line]
        return MissingDependencyError(f"the C++ SDK needs libraries: {'; '.join(named)}", remedy=_INSTALL)
    if "No CMAKE_CXX_COMPILER could be found" in output or "No CMAKE_C_COMPILER could be found" in output:
        return MissingDependencyError("cmake found no C and C++ compiler", remedy=_INSTALL)
    if "Generator" in output and "CMAKE_MAKE_PROGRAM is not set" in output:
        return MissingDependencyError("cmake found neither ninja nor make", remedy=_INSTALL)
    if "or higher is required" in output:
        wanted = next(line.strip() for line in lines if "or higher is required" in line)
        return MissingDependencyError(f"cmake is too old: {wanted}", remedy="pip install cmake")
    errors = [line for line in lines if "error" in line.lower()] or lines
    return ResnetDeployError(
        f"the C++ SDK could not be built: {' / '.join(errors[:3])}",
        remedy=f"see {log}, which ends with:\n" + "\n".join(lines[-_LAST_LINES:]),
    )
