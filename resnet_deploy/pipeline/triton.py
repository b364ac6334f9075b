"""A bundle served by Triton: its pixel contract as a graph, its golden image as warm-up, its models in a repository."""

from __future__ import annotations

__all__ = ["make_triton_repository"]

from pathlib import Path

import numpy as np

from resnet_deploy.core.errors import ArtifactMismatchError
from resnet_deploy.core.files import sha256_of_bytes, sha256_of_file
from resnet_deploy.data.decode import decode_image
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.graph.pixel_prefix import preprocess_model
from resnet_deploy.ship.manifest import BundleManifest
from resnet_deploy.ship.manifest_file import read_bundle_manifest
from resnet_deploy.ship.triton.manifest import TritonManifest
from resnet_deploy.ship.triton.options import TritonOptions
from resnet_deploy.ship.triton.repository import PreparedPixels, damaged, write_triton_repository


def make_triton_repository(
    bundle: Path, out: Path, options: TritonOptions | None = None, *, force: bool = False
) -> TritonManifest:
    """Write the models that serve a bundle; see `ship.triton.repository.write_triton_repository`.

    Args:
        bundle: A bundle's folder.
        out: The repository to write.
        force: Replace a repository of ours that is there.
    Raises:
        ArtifactError: The bundle is damaged, its golden image is prepared otherwise here than where it was made, or what
            was written breaks a rule of Triton's.
        ConfigError: The bundle has nothing that Triton can serve, an option does not fit, or `out` is there.
    """
    bundle = Path(bundle)
    manifest, _ = read_bundle_manifest(bundle)
    prepared = _prepare(bundle, manifest)
    return write_triton_repository(bundle, Path(out), prepared, options or TritonOptions(), force=force)


def _prepare(bundle: Path, manifest: BundleManifest) -> PreparedPixels:
    name, spec = manifest.golden.image, manifest.preprocess.spec()
    path = bundle / name
    if path.is_symlink() or not path.is_file() or sha256_of_file(path) != manifest.file(name).sha256:
        raise damaged(bundle, name)
    pixels = decode_image(path.read_bytes(), name=name)
    crop = crop_pixels(pixels, spec, name=name)
    if (got := sha256_of_bytes(np.ascontiguousarray(crop).tobytes())) != manifest.golden.pixels_sha256:
        raise ArtifactMismatchError(
            f"{name}: its cropped pixels have the SHA-256 {got[:12]}..., the bundle says "
            f"{manifest.golden.pixels_sha256[:12]}...: they are not prepared here as where the bundle was made",
            remedy="see `resnet-deploy bundle verify`",
        )
    graph = preprocess_model(spec).SerializeToString(deterministic=True)
    return PreparedPixels(graph=graph, pixels=pixels, tensor=normalize(crop, spec))
