"""Whether a bundle is what it says: every check that can be done here, and for the others why not."""

from __future__ import annotations

__all__ = ["Verification", "VerifyOptions", "verify_bundle"]

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_deploy.core.errors import ArtifactError, ResnetDeployError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.data.decode import decode_image
from resnet_deploy.engine.header import read_engine_header
from resnet_deploy.engine.preflight.compatibility import built_for
from resnet_deploy.pipeline.bundle.run_models import run_self_test, self_test_name
from resnet_deploy.pipeline.bundle.self_tests import GoldenImage, golden_of
from resnet_deploy.ship.archive import unpack
from resnet_deploy.ship.checks import Check, CheckState, check_folder
from resnet_deploy.ship.manifest import MANIFEST_FILE, BundleManifest, BundleModel

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_GZIP = b"\x1f\x8b"
_STEPS = 3  # of progress: files, golden image, self-tests


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyOptions:
    """Attributes:
    path: A bundle's folder, or its archive.
    public_key: It must be signed by the owner of this key.
    run: Run its models on the golden image, as far as they run here.
    """

    path: Path
    public_key: Ed25519PublicKey | None = None
    run: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """Attributes:
    name, version: Of the bundle; empty where its manifest can not be trusted.
    checks: In the order they were made; a failed one may end the list.
    """

    path: str
    name: str
    version: str
    checks: tuple[Check, ...]
    passed: bool


def verify_bundle(options: VerifyOptions, progress: Progress = NO_PROGRESS) -> Verification:
    """Check a bundle; what fails is a result, not an error.

    Raises:
        ArtifactError: There is nothing that looks like a bundle at all.
    """
    path = Path(options.path)
    progress.start(f"verify {path.name}", _STEPS)
    if path.is_dir():
        if not (path / MANIFEST_FILE).is_file():
            raise ArtifactError(f"{path} is no bundle: it has no {MANIFEST_FILE}", remedy="name a folder NAME.bundle")
        return _verify_folder(path, (), options, progress)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such bundle", remedy="name a folder NAME.bundle, or its archive")
    with open(path, "rb") as stream:
        if stream.read(2) != _GZIP:
            raise ArtifactError(
                f"{path} is no bundle: neither a folder nor a gzip archive", remedy="name NAME.bundle.tar.gz"
            )
    with tempfile.TemporaryDirectory(prefix="resnet-deploy-") as folder:
        inside = Path(folder) / "unpacked"
        try:
            unpack(path, inside)
        except ResnetDeployError as error:
            return _result(path, None, (Check.of("archive", [error.message], "", remedy=error.remedy or ""),))
        packed = Check.of("archive", [], "unpacked; holds its manifest's files and no others")
        return _verify_folder(inside, (packed,), options, progress)


def _verify_folder(folder: Path, before: tuple[Check, ...], options: VerifyOptions, progress: Progress) -> Verification:
    manifest, found = check_folder(folder, public_key=options.public_key)
    progress.advance()
    checks = [*before, *found]
    if manifest is not None:
        checks += [_header_check(folder, model) for model in manifest.models if model.format == "engine"]
        image, check = _golden_check(folder, manifest)
        checks.append(check)
        progress.advance()
        is_safe = not any(check.state is CheckState.FAILED for check in checks)
        checks += _self_test_checks(folder, manifest, image if is_safe else None, run=options.run)
        progress.advance()
    return _result(Path(options.path), manifest, tuple(checks))


def _result(path: Path, manifest: BundleManifest | None, checks: tuple[Check, ...]) -> Verification:
    return Verification(
        path=str(path),
        name=manifest.name if manifest else "",
        version=manifest.version if manifest else "",
        checks=checks,
        passed=manifest is not None and not any(check.state is CheckState.FAILED for check in checks),
    )


def _header_check(folder: Path, model: BundleModel) -> Check:
    name, remedy = f"header of {model.path}", "build the engine again, and the bundle from it"
    try:
        header = read_engine_header(folder / model.path)
    except ArtifactError as error:
        return Check.of(name, [error.message], "", remedy=remedy)
    built = built_for(header, {})
    said, told = (model.product, model.version), (built.product, built.version)
    problems = [] if said == told else [f"it is of {' '.join(told)}, the manifest says {' '.join(said)}"]
    targets = {f"{sm // 10}.{sm % 10}" for sm in built.targets}
    if targets and targets != set(model.compute_capabilities):
        problems.append(f"it is for {sorted(targets)}, the manifest says {sorted(model.compute_capabilities)}")
    return Check.of(
        name, problems, f"{' '.join(told)}, for {', '.join(model.compute_capabilities) or '-'}", remedy=remedy
    )


def _golden_check(folder: Path, manifest: BundleManifest) -> tuple[GoldenImage | None, Check]:
    name, remedy = "golden image", "make the bundle again"
    path = manifest.golden.image
    try:
        pixels = decode_image((folder / path).read_bytes(), name=path)
        image = golden_of(pixels, manifest.preprocess.spec(), name=path)
    except (ResnetDeployError, MemoryError) as error:
        return None, Check.of(name, [str(error).splitlines()[0]], "", remedy=remedy)
    got, expected = sha256_of_bytes(image.crop.tobytes()), manifest.golden.pixels_sha256
    if got != expected:
        problem = f"its pixels have SHA-256 {got[:12]}..., the manifest says {expected[:12]}..."
        return None, Check.of(name, [problem], "", remedy=remedy)
    height, width = pixels.shape[:2]
    return image, Check.of(name, [], f"{width}x{height} px, its resized and cropped pixels as in the manifest")


def _self_test_checks(
    folder: Path, manifest: BundleManifest, image: GoldenImage | None, *, run: bool
) -> Iterator[Check]:
    for model in manifest.models:
        if image is None or not run:
            reason = "a check before it failed" if run else "left out with --no-run"
            yield Check(name=self_test_name(model), state=CheckState.NOT_RUN, detail=reason)
        else:
            yield run_self_test(folder / model.path, model, image, manifest.preprocess.spec())
