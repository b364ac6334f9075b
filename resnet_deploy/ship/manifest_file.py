"""From the bytes of `bundle.json` to the dataclasses and back; nothing that is read is trusted."""

from __future__ import annotations

__all__ = ["MAX_MANIFEST_BYTES", "manifest_bytes", "parse_bundle_manifest", "read_bundle_manifest"]

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from resnet_deploy.core.config import from_plain, to_plain
from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.ship.manifest import BUNDLE_SCHEMA, MANIFEST_FILE, BundleManifest

MAX_MANIFEST_BYTES = 4 * 2**20
_MAX_DEPTH = 16  # of lists and objects; a manifest has 5
_SCHEMAS = BUNDLE_SCHEMA.rpartition("/")[0] + "/"
_REMEDY = "copy the bundle again, or make it with `resnet-deploy bundle`"


def manifest_bytes(manifest: BundleManifest) -> bytes:
    """The file as it is written, hashed and signed.

    Raises:
        ArtifactError: It would be longer than a reader takes.
    """
    data = (json.dumps(to_plain(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    if len(data) > MAX_MANIFEST_BYTES:
        raise ArtifactError(
            f"{MANIFEST_FILE} would have {len(data):,} bytes, at most {MAX_MANIFEST_BYTES:,} are read",
            remedy="put fewer models into one bundle: each holds its expected output",
        )
    return data


def read_bundle_manifest(folder: Path) -> tuple[BundleManifest, bytes]:
    """The manifest of a bundle, and its bytes, which a signature is over.

    Raises:
        ArtifactError: There is none, it is a link or no file, too long, or not of the schema.
    """
    path = Path(folder) / MANIFEST_FILE
    try:
        status = os.lstat(path)
    except OSError as error:
        if Path(folder).is_dir():
            raise ArtifactError(f"{folder} is no bundle: it has no {MANIFEST_FILE}", remedy=_REMEDY) from error
        what = "is a file" if Path(folder).is_file() else "no such folder"
        raise ArtifactError(
            f"{folder}: {what}, the folder of a bundle was expected",
            remedy="name NAME.bundle; an archive is unpacked by `resnet-deploy bundle unpack`",
        ) from error
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_MANIFEST_BYTES:
        raise ArtifactError(
            f"{path} is no plain file of at most {MAX_MANIFEST_BYTES:,} bytes (it has {status.st_size:,})",
            remedy=_REMEDY,
        )
    data = path.read_bytes()
    return parse_bundle_manifest(data, source=str(path)), data


def parse_bundle_manifest(data: bytes, *, source: str = MANIFEST_FILE) -> BundleManifest:
    """Read and check the bytes of a `bundle.json`.

    Raises:
        ArtifactError: Not JSON as RFC 8259 has it, keys that occur twice or are not known or missing, values out of
            range; says which.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ArtifactError(f"{source} has {len(data):,} bytes, at most {MAX_MANIFEST_BYTES:,} are read")
    try:
        text = data.decode("utf-8")
        _check_depth(text)
        plain = json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer
        )
        text.encode("utf-8")
        _check_schema(plain, source)
        manifest = from_plain(BundleManifest, plain, source=source)
        _check_complete(plain, to_plain(manifest))
    except ConfigError as error:
        raise ArtifactError(error.message, remedy=_REMEDY) from error
    except (ValueError, RecursionError, OverflowError) as error:
        raise ArtifactError(f"{source} can not be read: {_one_line(error)}", remedy=_REMEDY) from error
    return manifest


def _check_schema(plain: Any, source: str) -> None:
    """Of another release's bundle only this is said, and not every field that it has besides."""
    schema = plain.get("schema") if isinstance(plain, dict) else None
    if isinstance(schema, str) and schema.startswith(_SCHEMAS) and schema != BUNDLE_SCHEMA:
        raise ArtifactError(
            f"{source}: schema is {schema[:80]!r}, this release reads {BUNDLE_SCHEMA!r}",
            remedy="use the release of resnet-deploy that made the bundle, or make the bundle with this one",
        )


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the parser goes down into it; brackets inside of texts are rare and do not nest."""
    depth, in_text, escaped = 0, False, False
    for letter in text:
        if in_text:
            in_text, escaped = letter != '"' or escaped, letter == "\\" and not escaped
        elif letter == '"':
            in_text = True
        elif letter in "[{":
            depth += 1
            if depth > _MAX_DEPTH:
                raise ValueError(f"lists and objects are nested more than {_MAX_DEPTH} deep")
        elif letter in "]}":
            depth -= 1


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)[:80]!r} occurs more than once")
    for key, value in pairs:
        for text in (key, value):
            if isinstance(text, str) and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError(f"the text of {key[:80]!a} is not Unicode: half of a surrogate pair")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"{text[:20]}... has {len(text)} digits, no number of a bundle has more than 20")
    return int(text)


def _check_complete(given: Any, known: Any, place: str = "") -> None:
    """Every key is there: defaults are for programs, a file says what it means."""
    if isinstance(known, dict) and isinstance(given, dict):
        if missing := sorted(set(known) - set(given)):
            raise ValueError(f"{place or 'the manifest'} has no {missing[0]!r}")
        for key, value in known.items():
            _check_complete(given[key], value, f"{place}.{key}".lstrip("."))
    elif isinstance(known, (list, tuple)) and isinstance(given, list):
        for index, (one, other) in enumerate(zip(given, known, strict=True)):
            _check_complete(one, other, f"{place}[{index}]")
