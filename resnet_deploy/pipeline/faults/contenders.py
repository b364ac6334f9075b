"""The files that `diverge` and `bisect` compare: as a graph whose tensors can be read, and on their backend."""

from __future__ import annotations

__all__ = ["Contender", "common_pixels", "open_contender"]

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from resnet_deploy.core.artifacts import Manifest, find_manifest, refuse_pixels
from resnet_deploy.core.errors import ConfigError, MissingDependencyError
from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.core.progress import Progress
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.engine.contract import Runner
from resnet_deploy.engine.onnx_file import onnx_precision
from resnet_deploy.engine.open import open_runner
from resnet_deploy.graph.external_data import read_onnx_with_data
from resnet_deploy.graph.free_axes import fixed_batch, set_input_axes
from resnet_deploy.graph.head import take_off_head
from resnet_deploy.pipeline.layer_source import find_onnx
from resnet_deploy.verify.subject import Subject, choose_preprocess, subject_of

_OURS = ("export", "quantize", "import")
_ENGINE_BATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One of the two.

    Attributes:
        subject: The file that was named.
        onnx: The ONNX file whose graph it is: itself, what the engine was built from, or the checkpoint's FP32 form.
        manifest: Of `onnx`.
        model: Its graph up to the logits, for any number of images where that is known to work.
        open: Makes a runner of a graph that was made from `model`, on the file's backend.
        is_engine: Graphs are built into engines before they run.
        note: What stands for the file; empty where it stands for itself.
    """

    subject: Subject
    onnx: Path
    manifest: Manifest | None
    model: onnx.ModelProto
    open: Callable[[onnx.ModelProto], Runner]
    is_engine: bool
    note: str

    @property
    def sha256(self) -> str:
        """Of the file that was named."""
        manifest = self.subject.manifest
        return manifest.sha256 if manifest else sha256_of_file(self.subject.file)

    @property
    def precision(self) -> Precision:
        """As its manifest says, else as its graph looks."""
        known = self.manifest.precision if self.manifest else None
        return known or onnx_precision(self.model)


def open_contender(
    file: Path, backend: str | None, *, folder: Path, num_threads: int, progress: Progress, exact_tensors: bool = True
) -> Contender:
    """Find the graph behind a checkpoint, an ONNX file or an engine.

    Args:
        folder: For files that are needed meanwhile.
        exact_tensors: Refuse a graph whose tensors mean something else than the FP32 network's.
    Raises:
        ArtifactError: A file is missing or was changed.
        ConfigError: A backend that does not run the file, or whose results inside can not be read.
        GraphError: The ONNX file can not be read.
    """
    subject = subject_of(file, backend)
    suffix = subject.file.suffix
    if suffix == ".safetensors":
        if backend not in (None, "torch"):
            raise ConfigError(
                f"{file}: {backend} does not tell what is inside the network",
                remedy="leave the backend away: the checkpoint's FP32 ONNX form is taken, or export it and name the file",
            )
        onnx_file = _exported(subject.file, folder, progress)
        note = f"{file} was read as the FP32 ONNX file that `export` writes"
        backend = None
    elif suffix == ".engine":
        onnx_file = find_onnx(subject.file)
        note = (
            f"{file} does not tell what is inside: engines of {onnx_file.name} with marked results were built for it, "
            "in which marked tensors can not be fused away"
        )
    else:
        onnx_file, note = subject.file, ""
    manifest = find_manifest(onnx_file)
    refuse_pixels(file, manifest)
    if exact_tensors:
        _refuse_rescaled(onnx_file, manifest)
    model = read_onnx_with_data(onnx_file)[0]
    take_off_head(model)
    if manifest is not None and manifest.stage in _OURS and fixed_batch(model) is not None:
        set_input_axes(model, batch=None, any_size=False)
    if suffix == ".engine":
        opener = _engine_opener(subject, folder, progress)
    else:
        opener = _onnx_opener(backend, folder, num_threads)
    return Contender(
        subject=subject,
        onnx=onnx_file,
        manifest=manifest,
        model=model,
        open=opener,
        is_engine=suffix == ".engine",
        note=note,
    )


def common_pixels(reference: Contender, candidate: Contender, given: str | None) -> Preprocess:
    """The one pixel path of both.

    Raises:
        ConfigError: Nobody says it, or the two files differ in it, or are of different networks.
    """
    nets = [side.subject.manifest.net for side in (reference, candidate) if side.subject.manifest is not None]
    if len(nets) == 2 and None not in nets and nets[0].name != nets[1].name:
        raise ConfigError(
            f"{reference.subject.file} is a {nets[0].name}, {candidate.subject.file} a {nets[1].name}",
            remedy="give two forms of one network",
        )
    if given is not None:
        return choose_preprocess(candidate.subject, given)
    known = [
        contender.subject.manifest.preprocess
        for contender in (candidate, reference)
        if contender.subject.manifest is not None and contender.subject.manifest.preprocess is not None
    ]
    if not known:
        return choose_preprocess(candidate.subject, None)
    if known[0] != known[-1]:
        raise ConfigError(
            f"{reference.subject.file} and {candidate.subject.file} prepare images differently, so they differ from the "
            "first pixel on",
            remedy="`resnet-deploy attribute` says what that costs; or name one way for both with --preprocess",
        )
    return known[0]


def _refuse_rescaled(file: Path, manifest: Manifest | None) -> None:
    refine = (manifest.options.get("refine") if manifest else None) or {}
    if "equalize" in refine.get("refinements", ()):
        raise ConfigError(
            f"{file} was refined with equalize, which gives every channel another size: its tensors are not those of the "
            "reference any more, though the network is the same",
            remedy="look at the file quantised without equalize; `validate` and `attribute` take both",
        )


def _exported(checkpoint: Path, folder: Path, progress: Progress) -> Path:
    from resnet_deploy.export.onnx_export import ExportOptions, export_onnx

    out = folder / f"{checkpoint.stem}.fp32.onnx"
    return export_onnx(ExportOptions(checkpoint=checkpoint, out=out), progress).file


def _onnx_opener(backend: str | None, folder: Path, num_threads: int) -> Callable[[onnx.ModelProto], Runner]:
    def opened(model: onnx.ModelProto) -> Runner:
        file = _written(model, folder)
        try:
            return open_runner(file, backend=backend, num_threads=num_threads)
        finally:
            file.unlink()

    return opened


def _engine_opener(subject: Subject, folder: Path, progress: Progress) -> Callable[[onnx.ModelProto], Runner]:
    """Builds for the GPU in this machine, with the product and the arithmetic of the engine that was named."""
    from resnet_deploy.engine.building.build import build_engine
    from resnet_deploy.engine.building.options import BatchProfile, BuildOptions
    from resnet_deploy.engine.header import read_engine_header
    from resnet_deploy.engine.targets import CURRENT

    product = read_engine_header(subject.file).product
    tf32 = bool(subject.manifest.options.get("tf32")) if subject.manifest else False

    def opened(model: onnx.ModelProto) -> Runner:
        options = BuildOptions(
            onnx=_written(model, folder),
            product=product,
            targets=(CURRENT,) if product == "tensorrt-rtx" else (),
            batches=(BatchProfile(min=1, opt=_ENGINE_BATCH, max=_ENGINE_BATCH),),
            tf32=tf32,
            sanity=False,
        )
        try:
            return open_runner(build_engine(options, progress).file)
        except MissingDependencyError as error:
            raise MissingDependencyError(
                f"looking inside {subject.file} takes engines that are built for, and run on, the GPU here: "
                f"{error.message}",
                remedy="compare the ONNX file it was built from, or run this where the engine runs",
            ) from error

    return opened


def _written(model: onnx.ModelProto, folder: Path) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".onnx", delete=False) as file:
        file.write(model.SerializeToString())
    return Path(file.name)
