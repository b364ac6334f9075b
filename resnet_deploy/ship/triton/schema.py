"""Reading a config.pbtxt with the schema that Triton itself publishes, in its Python client."""

from __future__ import annotations

__all__ = ["parse_config", "schema_version"]

import importlib.util
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from resnet_deploy.core.errors import ArtifactError, MissingDependencyError

_PACKAGE = "tritonclient"
_SCHEMA_FILE = Path("grpc") / "model_config_pb2.py"


def schema_version() -> str | None:
    """Version of the installed `tritonclient` whose schema `parse_config` reads by; None where it can not be loaded."""
    return metadata.version(_PACKAGE) if _schema() else None


def parse_config(text: str, *, name: str) -> Any:
    """Read `text` as Triton's message `ModelConfig`.

    Args:
        name: The file's name, for the message.
    Returns:
        The protobuf message.
    Raises:
        ArtifactError: Not protobuf text, or a field, type or value that the schema does not have; says line and field.
        MissingDependencyError: `tritonclient` is not installed, or of a newer protobuf than this one.
    """
    from google.protobuf import text_format

    schema = _schema()
    if schema is None:
        raise MissingDependencyError(
            f"{_PACKAGE}, which holds Triton's schema of config.pbtxt, is not installed or needs a newer protobuf",
            remedy="pip install 'resnet-deploy[triton]'",
        )
    try:
        return text_format.Parse(text, schema.ModelConfig())
    except text_format.ParseError as error:
        raise ArtifactError(
            f"{name} is no configuration by the schema of {_PACKAGE} {schema_version()}: {error}",
            remedy="write the repository again",
        ) from error


@cache
def _schema() -> ModuleType | None:
    """The generated schema, loaded by its path: it needs protobuf only, the package around it gRPC as well."""
    package = importlib.util.find_spec(_PACKAGE)
    folders = (package.submodule_search_locations or ()) if package else ()
    path = next((file for folder in folders if (file := Path(folder, _SCHEMA_FILE)).is_file()), None)
    if path is None:
        return None
    spec = importlib.util.spec_from_file_location("resnet_deploy_triton_model_config", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except _refusals():
        return None
    return module


def _refusals() -> tuple[type[Exception], ...]:
    """What the releases of protobuf raise where generated code is too new, or too old, for them."""
    try:
        from google.protobuf.runtime_version import VersionError
    except ImportError:  # before protobuf 5.26
        return ImportError, TypeError
    return ImportError, TypeError, VersionError
