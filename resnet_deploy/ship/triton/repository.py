"""From a bundle to a Triton model repository: a folder that `tritonserver --model-repository` takes as it is."""

from __future__ import annotations

__all__ = ["PIXELS_SUFFIX", "PREPROCESS_SUFFIX", "PreparedPixels", "damaged", "write_triton_repository"]

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from resnet_deploy import __version__
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError
from resnet_deploy.core.files import atomic_write, sha256_of_bytes, sha256_of_file
from resnet_deploy.ship.folder import copy_hashed, new_folder
from resnet_deploy.ship.manifest import BundleFile, BundleManifest, BundleTensor
from resnet_deploy.ship.manifest_file import read_bundle_manifest
from resnet_deploy.ship.triton.choice import Choice, choose_models
from resnet_deploy.ship.triton.config import ModelConfig
from resnet_deploy.ship.triton.ensemble_rules import ensemble_problems
from resnet_deploy.ship.triton.manifest import TRITON_MANIFEST_FILE, TritonManifest, files_of, manifest_text
from resnet_deploy.ship.triton.model_rules import model_problems
from resnet_deploy.ship.triton.models import LABELS_FILE, GoldenImage, ensemble_config, net_config, preprocess_config
from resnet_deploy.ship.triton.options import TritonOptions
from resnet_deploy.ship.triton.schema import parse_config, schema_version
from resnet_deploy.ship.triton.text import config_text

PREPROCESS_SUFFIX = "_preprocess"
PIXELS_SUFFIX = "_pixels"
_CONFIG_FILE = "config.pbtxt"
_PLACEHOLDER = "README"
_PLACEHOLDER_TEXT = "An ensemble has no file of its own; Triton asks for the folder of its version.\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedPixels:
    """The pixel contract of a bundle, as a graph and on its golden image.

    Attributes:
        graph: ONNX file of the contract, pixels in, the network's input out.
        pixels: The golden image, uint8 [H, W, 3].
        tensor: The same as the network's input, float32 [3, height_px, width_px].
    """

    graph: bytes
    pixels: np.ndarray
    tensor: np.ndarray


def write_triton_repository(
    bundle: Path, out: Path, prepared: PreparedPixels, options: TritonOptions, *, force: bool = False
) -> TritonManifest:
    """Write the models that serve a bundle, and `triton.json` beside them.

    A network that takes preprocessed images becomes three models: `<name>`, `<name>_preprocess` and the ensemble
    `<name>_pixels`. One with the pixel contract in its graph is one model that takes pixels. Everything is checked by the
    rules Triton loads by and, where `tritonclient` is installed, read back by Triton's own schema, before `out` is there.

    Args:
        bundle: A bundle's folder.
        out: The repository; it is there whole or as it was.
        prepared: Of this bundle; see `pipeline.triton`, which makes it.
        force: Replace a repository that is there; nothing else is ever replaced.
    Raises:
        ArtifactError: The bundle is damaged, or what was written breaks a rule of Triton's.
        ConfigError: The bundle has nothing that Triton can serve, an option does not fit, or `out` is there.
    """
    bundle, out = Path(bundle), Path(out)
    _check_replaceable(out, force=force)
    manifest, manifest_bytes = read_bundle_manifest(bundle)
    choice = choose_models(manifest, options)
    with new_folder(out) as folder:
        configs = [_write_net(folder, bundle, manifest, choice, prepared, options)]
        if not choice.net.takes_pixels:
            configs.insert(0, _write_preprocess(folder, choice, prepared, options))
            configs.append(_write_ensemble(folder, configs[0], configs[1]))
        _check(folder, configs)
        version = schema_version()
        record = TritonManifest(
            bundle=manifest.name,
            bundle_version=manifest.version,
            bundle_sha256=sha256_of_bytes(manifest_bytes),
            options=options,
            models=tuple(config.name for config in configs),
            checked_by=f"tritonclient {version}" if version else "",
            notes=choice.notes,
            made_by={"resnet-deploy": __version__},
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            files=tuple(_file_records(folder)),
        )
        (folder / TRITON_MANIFEST_FILE).write_text(manifest_text(record), encoding="utf-8")
    return record


def _write_net(
    folder: Path,
    bundle: Path,
    manifest: BundleManifest,
    choice: Choice,
    prepared: PreparedPixels,
    options: TritonOptions,
) -> ModelConfig:
    place = folder / choice.net.name
    version = place / str(options.version)
    for name, model in choice.files.items():
        _copy(bundle, manifest, model.path, version / name)
    if manifest.labels is not None:
        _copy(bundle, manifest, manifest.labels, place / LABELS_FILE)
    array = prepared.pixels if choice.net.takes_pixels else prepared.tensor
    return _write_config(place, net_config(choice.net, options, _write_golden(place, array)))


def _write_preprocess(folder: Path, choice: Choice, prepared: PreparedPixels, options: TritonOptions) -> ModelConfig:
    import onnx

    name = choice.net.name + PREPROCESS_SUFFIX
    graph = onnx.load_from_string(prepared.graph).graph
    version = folder / name / str(options.version)
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(prepared.graph)
    config = preprocess_config(
        name,
        BundleTensor(name=graph.input[0].name, dtype="uint8", shape=(-1, -1, -1, 3)),
        BundleTensor(name=graph.output[0].name, dtype="float32", shape=(-1, *prepared.tensor.shape)),
        choice.net,
        options,
        _write_golden(folder / name, prepared.pixels),
    )
    return _write_config(folder / name, config)


def _write_ensemble(folder: Path, preprocess: ModelConfig, net: ModelConfig) -> ModelConfig:
    """The version's folder holds one small file, as archives and object stores keep no empty folders."""
    place = folder / (net.name + PIXELS_SUFFIX)
    for version in (folder / net.name).iterdir():
        if version.name.isdecimal():
            (place / version.name).mkdir(parents=True)
            (place / version.name / _PLACEHOLDER).write_text(_PLACEHOLDER_TEXT, encoding="utf-8")
    if (folder / net.name / LABELS_FILE).is_file():
        (place / LABELS_FILE).write_bytes((folder / net.name / LABELS_FILE).read_bytes())
    return _write_config(place, ensemble_config(place.name, preprocess, net))


def _write_config(place: Path, config: ModelConfig) -> ModelConfig:
    (place / _CONFIG_FILE).write_text(config_text(config), encoding="utf-8")
    return config


def _write_golden(place: Path, array: np.ndarray) -> GoldenImage:
    """The raw bytes of one image, row by row, little-endian."""
    file = f"golden.{array.dtype}"
    with atomic_write(place / "warmup" / file) as partial:
        partial.write_bytes(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return GoldenImage(file=file, dims=array.shape)


def _copy(bundle: Path, manifest: BundleManifest, name: str, target: Path) -> None:
    """Copy a file of the bundle; its bytes are hashed on the way."""
    entry = manifest.file(name)
    try:
        with os.fdopen(os.open(bundle / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as source:
            digest, _ = copy_hashed(source, target)
    except OSError as error:
        if error.filename is not None and Path(error.filename) != bundle / name:
            raise  # it is the repository that can not be written
        raise damaged(bundle, name) from error
    if digest != entry.sha256:
        raise damaged(bundle, name)


def damaged(bundle: Path, name: str) -> ArtifactMismatchError:
    """The error for a file of a bundle that is not what bundle.json says."""
    return ArtifactMismatchError(
        f"{bundle}: {name} is missing, a link, or not the file its manifest was written for",
        remedy="copy the bundle again; `resnet-deploy bundle verify` lists all that is wrong with it",
    )


def _check(folder: Path, configs: list[ModelConfig]) -> None:
    """By Triton's rules as we know them, and by its schema where it is here."""
    problems = [problem for config in configs for problem in model_problems(config, folder / config.name)]
    by_name = {config.name: config for config in configs}
    for config in configs:
        if config.ensemble_scheduling is not None:
            problems += ensemble_problems(config, by_name)
        if schema_version() is not None:
            text = (folder / config.name / _CONFIG_FILE).read_text(encoding="utf-8")
            parse_config(text, name=f"{config.name}/{_CONFIG_FILE}")
    if problems:
        raise ArtifactError(
            f"Triton would not serve this: {'; '.join(problems)}",
            remedy="check the bundle's files against its manifest; if they agree, this is a fault of resnet-deploy",
        )


def _check_replaceable(out: Path, *, force: bool) -> None:
    if not os.path.lexists(out):
        return
    if out.is_dir() and not out.is_symlink() and not any(out.iterdir()):
        return
    if out.is_symlink() or not (out / TRITON_MANIFEST_FILE).is_file():
        raise ConfigError(
            f"{out} is there and is no repository of ours, so it is left alone", remedy="name another --out"
        )
    if not force:
        raise ConfigError(f"{out} is there already", remedy="add --force to replace it, or name another --out")


def _file_records(folder: Path) -> Iterable[BundleFile]:
    for name in files_of(folder):
        path = folder / name
        yield BundleFile(path=name, sha256=sha256_of_file(path), size_bytes=path.stat().st_size)
