"""Statistics on disk: shards to merge, an interrupted pass to go on with, a finished one for another method.

A statistics file is one safetensors file whose header says of which network and sample it is, so it needs no
manifest. It is written atomically and carries a checksum of its contents.
"""

from __future__ import annotations

__all__ = [
    "STATISTICS_SCHEMA",
    "SampleKey",
    "SavedStatistics",
    "merge_statistics",
    "read_statistics",
    "sample_key",
    "write_statistics",
]

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib import metadata
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from resnet_deploy import __version__
from resnet_deploy.core.config import from_plain, to_plain
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError
from resnet_deploy.core.files import atomic_write, sha256_of_bytes
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.bad_images import BadImage
from resnet_deploy.data.source import ImageSource
from resnet_deploy.quant.statistics import NUM_BINS, Collected, TensorStatistics

STATISTICS_SCHEMA = "resnet-deploy/statistics/1"

_HEADER = "resnet-deploy"
_ONLY_ZEROS = -(1 << 15)  # stands for the exponent of a tensor of which only zeros were seen


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleKey:
    """Which numbers these are: files with equal keys are parts of the same whole.

    Attributes:
        network_sha256: Of the FP32 ONNX file.
        images: Description of the sample.
        fingerprint: Of the sample: the source's images, and which of them in which order.
        num_images: In the whole sample.
        preprocess_sha256: Of the preprocessing's JSON form.
        split, num_asked, seed: The options that chose the sample.
        versions: Of the packages that compute activations and statistics.
    """

    network_sha256: str
    images: str
    fingerprint: str
    num_images: int
    preprocess_sha256: str
    split: str
    num_asked: int
    seed: int
    versions: dict[str, str]


def sample_key(
    images: ImageSource, preprocess: Preprocess, *, network_sha256: str, split: str, num_asked: int, seed: int
) -> SampleKey:
    """The key of a sample that `data.source.stratified_sample` chose, for a network, on this installation."""
    versions = {"resnet-deploy": __version__}
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            versions["onnxruntime"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return SampleKey(
        network_sha256=network_sha256,
        images=images.description,
        fingerprint=images.fingerprint(),
        num_images=len(images),
        preprocess_sha256=sha256_of_bytes(json.dumps(to_plain(preprocess), sort_keys=True).encode()),
        split=split,
        num_asked=num_asked,
        seed=seed,
        versions=versions,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedStatistics:
    """The contents of a statistics file.

    Attributes:
        bad: Images that could not be used; `index` is the place in the sample.
        skip_bad: So many were allowed.
    """

    key: SampleKey
    collected: Collected
    bad: tuple[BadImage, ...] = ()
    skip_bad: int = 0

    @property
    def positions(self) -> set[int]:
        """Places in the sample that are done: consumed or found unusable."""
        return self.collected.positions | {image.index for image in self.bad}


def write_statistics(saved: SavedStatistics, path: Path) -> None:
    """Write the file atomically; the same statistics give the same bytes."""
    seen = saved.collected
    names = sorted(seen.tensors)
    tensors = [seen.tensors[name] for name in names]
    exponents = [_ONLY_ZEROS if t.exponent is None else t.exponent for t in tensors]
    arrays = {
        "counts": np.array([t.counts for t in tensors], dtype=np.int64).reshape(len(names), NUM_BINS),
        "extremes": np.array([(t.minimum, t.maximum) for t in tensors], dtype=np.float64).reshape(len(names), 2),
        "num_zeros": np.array([t.num_zeros for t in tensors], dtype=np.int64),
        "exponents": np.array(exponents, dtype=np.int64),
        "positions": np.array(sorted(seen.positions), dtype=np.int64),
        "hashes": np.frombuffer(bytes.fromhex("".join(sorted(seen.hashes))), dtype=np.uint8).reshape(-1, 32),
    }
    header = {
        "schema": STATISTICS_SCHEMA,
        "key": to_plain(saved.key),
        "tensors": names,
        "num_constant": seen.num_constant,
        "bad": to_plain(saved.bad),
        "skip_bad": saved.skip_bad,
        "contents_sha256": _checksum(arrays),
    }
    with atomic_write(path) as partial:
        partial.write_bytes(save(arrays, metadata={_HEADER: json.dumps(header, sort_keys=True)}))


def read_statistics(path: Path) -> SavedStatistics:
    """Read a statistics file.

    Raises:
        ArtifactError: Missing, cut off, changed, or of another kind or version.
    """
    path = Path(path)
    remedy = "make it with `resnet-deploy calibrate --shard K/N` or `--keep-statistics`"
    if not path.is_file():
        raise ArtifactError(f"{path}: no such statistics file", remedy=remedy)
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
            if header.get("schema") != STATISTICS_SCHEMA:
                got = header.get("schema")
                raise ArtifactError(f"{path}: schema is {got!r}, expected {STATISTICS_SCHEMA!r}", remedy=remedy)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        if header["contents_sha256"] != _checksum(arrays):
            raise ArtifactError(f"{path} was changed after it was written (its checksum differs)", remedy=remedy)
        return _from_parts(header, arrays, source=str(path))
    except (SafetensorError, json.JSONDecodeError, KeyError, ConfigError) as error:
        raise ArtifactError(f"{path} is not a statistics file, or is cut off: {error}", remedy=remedy) from error


def merge_statistics(paths: Sequence[Path], *, network_sha256: str) -> SavedStatistics:
    """The statistics of a whole sample from those of its shards.

    Raises:
        ArtifactError: A file can not be read.
        ArtifactMismatchError: A file is of another network or sample, two files have an image in common, or the
            files together lack some of the sample.
    """
    paths = [Path(path) for path in paths]
    parts = [read_statistics(path) for path in paths]
    _check_keys(paths, [part.key for part in parts], network_sha256)
    owner: dict[int, Path] = {}
    for path, part in zip(paths, parts, strict=True):
        if both := sorted(position for position in part.positions if position in owner):
            raise ArtifactMismatchError(
                f"{owner[both[0]]} and {path} overlap: {len(both)} images are in both, the first is image {both[0]} "
                "of the sample (counted from 0)",
                remedy="give every shard once",
            )
        owner |= dict.fromkeys(part.positions, path)
    size = parts[0].key.num_images
    if missing := sorted(set(range(size)) - owner.keys()):
        raise ArtifactMismatchError(
            f"{len(paths)} statistics files hold {size - len(missing)} of the {size} images of the sample; image "
            f"{missing[0]} (counted from 0) is the first that is missing",
            remedy="give the files of all shards; each says K of N in its name",
        )
    whole = Collected.of(parts[0].collected.tensors)
    for path, part in zip(paths, parts, strict=True):
        if part.collected.tensors.keys() != whole.tensors.keys():
            raise ArtifactMismatchError(f"{path} has other tensors than {paths[0]}", remedy="make the shards again")
        whole.merge(part.collected)
    bad = tuple(sorted((image for part in parts for image in part.bad), key=lambda image: image.index))
    return replace(parts[0], collected=whole, bad=bad, skip_bad=max(part.skip_bad for part in parts))


def _check_keys(paths: Sequence[Path], keys: Sequence[SampleKey], network_sha256: str) -> None:
    for path, key in zip(paths, keys, strict=True):
        if key.network_sha256 != network_sha256:
            raise ArtifactMismatchError(
                f"{path} was made with the network with SHA-256 {key.network_sha256[:12]}..., "
                f"this one has {network_sha256[:12]}...",
                remedy="give the ONNX file that the shards were made with, or make the shards again",
            )
        for field in fields(SampleKey):
            mine, first = getattr(key, field.name), getattr(keys[0], field.name)
            if mine != first:
                raise ArtifactMismatchError(
                    f"{path} and {paths[0]} are not shards of one sample: {field.name} is {mine!r}, not {first!r}",
                    remedy="make all shards with the same options, data and versions",
                )


def _from_parts(header: dict, arrays: dict[str, np.ndarray], *, source: str) -> SavedStatistics:
    tensors = {}
    for i, name in enumerate(header["tensors"]):
        statistics = TensorStatistics()
        statistics.minimum, statistics.maximum = (float(value) for value in arrays["extremes"][i])
        statistics.counts = arrays["counts"][i].copy()
        statistics.num_zeros = int(arrays["num_zeros"][i])
        exponent = int(arrays["exponents"][i])
        statistics.exponent = None if exponent == _ONLY_ZEROS else exponent
        tensors[name] = statistics
    return SavedStatistics(
        key=from_plain(SampleKey, header["key"], source=source),
        collected=Collected(
            tensors=tensors,
            hashes={row.tobytes().hex() for row in arrays["hashes"]},
            positions=set(arrays["positions"].tolist()),
            num_constant=header["num_constant"],
        ),
        bad=tuple(from_plain(BadImage, item, source=source) for item in header["bad"]),
        skip_bad=header["skip_bad"],
    )


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    return sha256_of_bytes(b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays)))
