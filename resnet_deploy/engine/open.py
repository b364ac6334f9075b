"""From a file to a runner: which backend runs it, and whether the file may be trusted."""

from __future__ import annotations

__all__ = ["BACKENDS", "backends_of", "engine_bytes", "open_runner", "parse_runner"]

from pathlib import Path

from resnet_deploy.core.artifacts import Manifest, find_manifest, read_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError, MissingDependencyError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.engine.contract import Runner

BACKENDS = {
    "torch": (".safetensors",),
    "torch-fp16": (".safetensors",),
    "torch-compile": (".safetensors",),
    "torch-compile-fp16": (".safetensors",),
    "onnxruntime": (".onnx",),
    "onnxruntime-cpu": (".onnx",),
    "onnxruntime-cuda": (".onnx",),
    "onnxruntime-tensorrt": (".onnx",),
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


def open_runner(
    file: Path,
    *,
    backend: str | None = None,
    num_threads: int = 0,
    trust: bool = False,
    cuda_graphs: bool = True,
    runtime_cache: Path | None = None,
    engine_cache: Path | None = None,
) -> Runner:
    """Load a checkpoint, an ONNX file or an engine, ready to run.

    Args:
        backend: One of BACKENDS; None takes torch for .safetensors, ONNX Runtime for .onnx, and for .engine
            the product that its header names.
        num_threads: Processor threads of a backend that computes on the CPU; 0 takes all.
        trust: Run a file without a manifest or with another hash than its manifest says. An engine is
            executable code: only for files of your own.
        cuda_graphs: Replay the passes of an engine as CUDA graphs; other backends have none.
        runtime_cache: File in which tensorrt-rtx keeps what it compiled for the GPU, for the next time.
        engine_cache: Folder in which onnxruntime-tensorrt keeps the engines it builds, for the next time.
    Raises:
        ConfigError: Unknown backend, one that does not run this kind of file, or a cache that it has no use for.
        ArtifactError: Missing, truncated, changed or foreign file.
        GraphError: An ONNX file that can not be run.
        MissingDependencyError: The backend's package or its GPU is not here.
    """
    file = Path(file)
    backend = _choose_backend(file, backend)
    if num_threads < 0:
        raise ConfigError(f"num_threads is {num_threads}, expected 0 (all) or more")
    _check_caches(backend, runtime_cache, engine_cache)
    if backend.startswith("torch"):
        from resnet_deploy.engine.runners.torch_runner import TorchRunner

        half, compiled = backend.endswith("-fp16"), "-compile" in backend
        return TorchRunner(file, num_threads=num_threads, half=half, compiled=compiled)
    if file.suffix == ".onnx":
        if not trust:
            find_manifest(file)
        return _onnx_runner(backend, file, num_threads, engine_cache)
    data = engine_bytes(file, trust=trust)
    from resnet_deploy.engine.runners.loaded_engine import EngineSettings
    from resnet_deploy.engine.runners.tensorrt_runner import open_tensorrt

    settings = EngineSettings(cuda_graphs=cuda_graphs, runtime_cache=runtime_cache)
    return open_tensorrt(file, data, product=backend, manifest=_manifest_of(file, data), settings=settings)


def _check_caches(backend: str, runtime_cache: Path | None, engine_cache: Path | None) -> None:
    users = (("runtime_cache", runtime_cache, "tensorrt-rtx"), ("engine_cache", engine_cache, "onnxruntime-tensorrt"))
    for option, value, user in users:
        if value is not None and backend != user:
            raise ConfigError(f"{option} is {value}, and {backend} keeps no such cache", remedy=f"{user} does")


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


def engine_bytes(file: Path, *, trust: bool) -> bytes:
    """An engine as it may be deserialised: the bytes that were checked are the bytes that run, the file is read once.

    Args:
        trust: Take it without a manifest, or with another hash than its manifest says.
    Raises:
        ArtifactError: No manifest, or not an engine's.
        ArtifactMismatchError: The hash differs.
    """
    manifest = None if trust else read_manifest(file, kind="engine", verify=False)
    data = file.read_bytes()
    if manifest is not None and (got := sha256_of_bytes(data)) != manifest.sha256:
        raise ArtifactMismatchError(
            f"{file}: SHA-256 is {got[:12]}..., its manifest says {manifest.sha256[:12]}...; an engine is code, "
            "and this one is not what was built",
            remedy="build it again, or trust it if you know where it is from",
        )
    return data


def _manifest_of(file: Path, data: bytes) -> Manifest | None:
    """The manifest of an engine that was let in; None where it has none or that of another file."""
    try:
        manifest = read_manifest(file, kind="engine", verify=False)
    except ArtifactError:
        return None
    return manifest if manifest.sha256 == sha256_of_bytes(data) else None


def _onnx_runner(backend: str, file: Path, num_threads: int, engine_cache: Path | None) -> Runner:
    package, _, provider = backend.partition("-")
    try:
        if package == "openvino":
            from resnet_deploy.engine.runners.openvino_runner import OpenVinoRunner

            return OpenVinoRunner(file, num_threads=num_threads)
        from resnet_deploy.engine.runners.onnxruntime_runner import OnnxRuntimeRunner
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{package} is not installed ({error})", remedy=f"pip install {package}"
        ) from error
    return OnnxRuntimeRunner(file, num_threads=num_threads, provider=provider, engine_cache=engine_cache)
