"""Everything that can go wrong, as types a caller can catch and a message a person can act on.

A failed parity or accuracy check is *not* an error: it is a result (see `resnet_deploy.verify`).
"""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "ArtifactMismatchError",
    "CalibrationError",
    "ConfigError",
    "DataError",
    "EngineBuildError",
    "EngineRunError",
    "ExitCode",
    "ExportError",
    "GraphError",
    "MissingDependencyError",
    "ResnetDeployError",
    "Terminated",
    "TrainError",
    "WorkerError",
]

from enum import IntEnum


class ExitCode(IntEnum):
    """What a `resnet-deploy` process returns; part of the command line's contract."""

    DONE = 0
    CHECK_FAILED = 1  # a check or a verdict failed; the work itself was done
    BAD_INPUT = 2  # wrong usage, or a file or value the user gave
    MISSING = 3  # a package, a driver or a GPU is not there
    FAILED = 4  # any other error of ours, a full disk included
    INTERRUPTED = 130  # Ctrl-C (128 + SIGINT), as shells expect
    TERMINATED = 143  # SIGTERM (128 + 15), as of `kill`, `timeout`, a container that is stopped, a batch system


class ResnetDeployError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: What failed, what was got, what was expected or is available.
        remedy: One sentence that says how to fix it; shown on its own line.
    Attributes:
        is_told: Another process of the same job says it to the user; this one ends without a word.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.is_told = False

    def __str__(self) -> str:
        return f"{self.message}\nRemedy: {self.remedy}" if self.remedy else self.message


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where it arrives, so that it cleans up as Ctrl-C does."""


class ConfigError(ResnetDeployError):
    """An option, a name or a configuration file is wrong."""

    exit_code = ExitCode.BAD_INPUT


class MissingDependencyError(ResnetDeployError):
    """A package, driver or device that the request needs is not on this machine."""

    exit_code = ExitCode.MISSING


class ArtifactError(ResnetDeployError):
    """A file of the chain is missing, truncated, or not what it claims to be."""

    exit_code = ExitCode.BAD_INPUT


class ArtifactMismatchError(ArtifactError):
    """A file is sound in itself but does not belong to the others it was given with."""


class DataError(ResnetDeployError):
    """Images or labels can not be used."""

    exit_code = ExitCode.BAD_INPUT


class TrainError(ResnetDeployError):
    """Training can not go on (the loss is not finite, say); the last good checkpoint is kept."""


class ExportError(ResnetDeployError):
    """A network could not be turned into an ONNX file."""


class GraphError(ResnetDeployError):
    """An ONNX graph can not be read, or holds something a pass can not handle."""

    exit_code = ExitCode.BAD_INPUT


class CalibrationError(ResnetDeployError):
    """Activation statistics or scales can not be computed or do not fit the network."""

    exit_code = ExitCode.BAD_INPUT


class EngineBuildError(ResnetDeployError):
    """A TensorRT product refused to build an engine; carries the product's own words."""


class EngineRunError(ResnetDeployError):
    """A runner failed while running a network."""


class WorkerError(ResnetDeployError):
    """A process that helps this one (decoding, say) was killed or crashed."""
