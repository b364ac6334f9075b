"""From a file to a runner: which backend runs it, and whether the file may be trusted."""

from __future__ import annotations

__all__ = ["BACKENDS", "backends_of", "open_runner", "parse_runner"]

from pathlib import Path

from resnet_deploy.core.artifacts import find_manifest, read_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError, MissingDependencyError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.engine.contract import Runner

BACKENDS = {
    "torch": (".safetensors",),
    "onnxruntime": (".onnx",),
    "openvino": (".onnx",),
    "tensorrt-rtx": (".engine",),
    "tensorrt": (".engine",),
}
"""Backend -> the files it runs; the first backend of a kind of file is its default."""


def parse_runner(text: str) -> tuple[str | None, Path]:
    """Read `[BACKEND:]FILE` as the command line has it, e.g. "openvino:out/resnet20.int8.onnx".

    Raises:
        ConfigError: The part before the colon is no backend (a file of that name that exists is taken as a file).
    """
    head, colon, rest = text.partition(":")
    if colon and head in BACKENDS and rest:
        return head, Path(rest)
    # "C:\\net.onnx" is a file, as is any name with a colon that exists or has a folder before the colon
    if not colon or len(head) == 1 or "/" in head or Path(text).exists():
        if not text:
            raise ConfigError("the name of a file to run is empty", remedy="give [BACKEND:]FILE")
        return None, Path(text)
    raise ConfigError(
        f"{text!r}: {head!r} is not a backend" if rest else f"{text!r} names no file after the colon",
        remedy=f"write [BACKEND:]FILE with one of {', '.join(BACKENDS)}",
    )


def backends_of(file: Path) -> list[str]:
    """The backends that run such a file, the default first; its ending decides, it need not be there.

    Raises:
        ConfigError: None does.
    """
    fitting = [name for name, suffixes in BACKENDS.items() if file.suffix in suffixes]
    if not fitting:
        raise ConfigError(
            f"{file}: a file ending in {file.suffix!r} can not be run",
            remedy="give a checkpoint (.safetensors), an ONNX file (.onnx) or an engine (.engine)",
        )
    return fitting


def open_runner(file: Path, *, backend: str | None = None, num_threads: int = 0, trust: bool = False) -> Runner:
    """Load a checkpoint, an ONNX file or an engine, ready to run.

    Args:
        backend: One of BACKENDS; None takes torch for .safetensors, ONNX Runtime for .onnx, and for .engine
            the product that its header names.
        num_threads: Processor threads of a backend that computes on the CPU; 0 takes all.
        trust: Run a file without a manifest or with another hash than its manifest says. An engine is
            executable code: only for files of your own.
    Raises:
        ConfigError: Unknown backend, or one that does not run this kind of file.
        ArtifactError: Missing, truncated, changed or foreign file.
        GraphError: An ONNX file that can not be run.
        MissingDependencyError: The backend's package or its GPU is not here.
    """
    file = Path(file)
    backend = _choose_backend(file, backend)
    if num_threads < 0:
        raise ConfigError(f"num_threads is {num_threads}, expected 0 (all) or more")
    if backend == "torch":
        from resnet_deploy.engine.torch_runner import TorchRunner

        return TorchRunner(file, num_threads=num_threads)
    if backend in ("onnxruntime", "openvino"):
        if not trust:
            find_manifest(file)
        return _onnx_runner(backend, file, num_threads)
    data = _engine_bytes(file, trust=trust)
    from resnet_deploy.engine.tensorrt_runner import open_tensorrt

    return open_tensorrt(file, data, product=backend)


def _choose_backend(file: Path, backend: str | None) -> str:
    if backend is not None and backend not in BACKENDS:
        raise ConfigError(f"unknown backend {backend!r}", remedy=f"one of {', '.join(BACKENDS)}")
    fitting = backends_of(file)
    if backend is not None and backend not in fitting:
        raise ConfigError(
            f"{file}: {backend} does not run {file.suffix} files", remedy=f"what runs it: {', '.join(fitting)}"
        )
    if not file.is_file():
        raise ArtifactError(f"{file}: no such file", remedy="check the path, or run the stage that makes it")
    if file.suffix != ".engine":
        return backend or fitting[0]
    from resnet_deploy.engine.header import read_engine_header

    header = read_engine_header(file)
    if backend is not None and backend != header.product:
        raise ConfigError(f"{file} was built by {header.product}, {backend} can not run it")
    return header.product


def _engine_bytes(file: Path, *, trust: bool) -> bytes:
    """The bytes that were checked are the bytes that run: the file is read once."""
    manifest = None if trust else read_manifest(file, kind="engine", verify=False)
    data = file.read_bytes()
    if manifest is not None and (got := sha256_of_bytes(data)) != manifest.sha256:
        raise ArtifactMismatchError(
            f"{file}: SHA-256 is {got[:12]}..., its manifest says {manifest.sha256[:12]}...; an engine is code, "
            "and this one is not what was built",
            remedy="build it again, or trust it if you know where it is from",
        )
    return data


def _onnx_runner(backend: str, file: Path, num_threads: int) -> Runner:
    try:
        if backend == "openvino":
            from resnet_deploy.engine.openvino_runner import OpenVinoRunner as OnnxRunner
        else:
            from resnet_deploy.engine.onnxruntime_runner import OnnxRuntimeRunner as OnnxRunner
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{backend} is not installed ({error})", remedy=f"pip install {backend}"
        ) from error
    return OnnxRunner(file, num_threads=num_threads)
