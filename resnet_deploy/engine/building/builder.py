"""Driving a TensorRT builder: the API that TensorRT 10.x and 11.x and TensorRT-RTX have in common.

What only some of them have is looked for by attribute, never by version.
"""

from __future__ import annotations

__all__ = ["BuiltEngine", "run_builder"]

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from resnet_deploy.core.errors import EngineBuildError
from resnet_deploy.core.progress import Progress
from resnet_deploy.engine.building.configure import configure, load_timing_cache, save_timing_cache
from resnet_deploy.engine.building.options import BuildOptions
from resnet_deploy.engine.contract import ShapeProfile
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.products import collected_log, trt_logger
from resnet_deploy.engine.targets import CURRENT

_MAX_LOG = 500
_BANNER = ("-----", "Input filename:")  # of the parser; the path is this machine's
_SMALL_WORKSPACE = "the workspace is too small for this network and batch: give more, or leave the limit away"
_INT32_BIAS = (
    "its biases are int32 behind DequantizeLinear: quantize with float biases (quantize_static of ONNX Runtime: "
    "QuantizeBias False among extra_options), or `resnet-deploy quantize` the FP32 file"
)
_REMEDIES = (
    ("for Turing", "Turing (sm75) computes no FP32 GEMM in this product: build the FP16 file for it, or leave it out"),
    (
        "datatypes: fp8",
        "FP8 needs sm89 or newer: name such targets, e.g. --target sm89,sm120; for older GPUs quantize to INT8",
    ),
    ("datatypes: b16", "BF16 needs sm80 or newer: leave sm75 out, or build the FP16 file for it"),
    ("annot compile for target", "leave that target out, or take a precision it has"),
    (
        "zero point is not supported",
        "only symmetric quantization is taken: make the file with `resnet-deploy quantize`",
    ),
    (
        "graph_jit",
        "TensorRT-RTX compiles something of this engine at once and needs a GPU for it: build it where there is one",
    ),
    ("Requested size was", _SMALL_WORKSPACE),
    ("within workspace limit", _SMALL_WORKSPACE),
    (
        "has type Int32 but must",
        _INT32_BIAS,
    ),
    ("must all be positive", "calibrate again: a quantization scale is zero or negative"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltEngine:
    """A serialised engine in memory.

    Attributes:
        targets: The GPU it was built for, where the product builds for the one here; else empty.
        seconds: Parsing and building.
        parsed_layers: Layers of the network after parsing, before any fusion.
        warnings: Of the parser and the builder, each once.
        log: (severity, message) of all they said, the first 500 lines.
    """

    data: bytes
    targets: tuple[str, ...]
    seconds: float
    parsed_layers: int
    warnings: tuple[str, ...]
    log: tuple[tuple[str, str], ...]


def run_builder(
    trt: ModuleType,
    options: BuildOptions,
    *,
    input_name: str,
    profiles: tuple[ShapeProfile, ...],
    progress: Progress,
) -> BuiltEngine:
    """Parse the options' ONNX file and build it; Ctrl-C ends the build at its next step.

    Args:
        options: With the targets that were decided on.
        profiles: One optimization profile each; empty where the graph fixes every shape.
    Raises:
        ConfigError: This version of the product lacks an option.
        MissingDependencyError: The hardware that an option asks for is not here.
        EngineBuildError: The parser or the builder refused; holds what it said.
    """
    source = Path(options.onnx)
    with collected_log(trt, with_info=True) as log:
        start = time.perf_counter()
        builder = trt.Builder(trt_logger(trt))
        network = builder.create_network(_network_flags(trt))
        _parse(trt, network, source, log, for_dla=options.dla_core is not None)
        config = builder.create_builder_config()
        for shapes in profiles:
            profile = builder.create_optimization_profile()
            profile.set_shape(input_name, shapes.min, shapes.opt, shapes.max)
            config.add_optimization_profile(profile)
        configure(trt, builder, config, options)
        cache = load_timing_cache(config, options)
        plan = _build_interruptibly(trt, builder, network, config, options, progress)
        seconds = time.perf_counter() - start
        if plan is None:
            raise _refusal(f"{trt.__name__} {trt.__version__} could not build {source}", _errors(log))
        if cache is not None and not options.pin_timing_cache:
            save_timing_cache(config, options.timing_cache)
        return BuiltEngine(
            data=bytes(plan),
            targets=_current_target(trt, options.targets),
            seconds=seconds,
            parsed_layers=network.num_layers,
            warnings=tuple(message for severity, message in log if severity == "warning"),
            log=tuple(line for line in log if not line[1].startswith(_BANNER))[:_MAX_LOG],
        )


def _network_flags(trt: ModuleType) -> int:
    # 10.x is weakly typed unless asked; 11.x and RTX are always strongly typed and accept the flag
    strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if strongly_typed is None else 1 << int(strongly_typed)


def _parse(trt: ModuleType, network: Any, source: Path, log: list[tuple[str, str]], *, for_dla: bool) -> None:
    parser = trt.OnnxParser(network, trt_logger(trt))
    if for_dla and hasattr(getattr(trt, "OnnxParserFlag", None), "ADJUST_FOR_DLA"):
        parser.set_flag(trt.OnnxParserFlag.ADJUST_FOR_DLA)
    if parser.parse_from_file(str(source)):
        return
    errors = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
    raise _refusal(f"{trt.__name__} {trt.__version__} can not read {source}", errors or _errors(log))


def _parser_error(error: Any) -> str:
    node = f"node {error.node_name()} ({error.node_operator()}): " if error.node_name() else ""
    return node + error.desc().strip()


def _current_target(trt: ModuleType, targets: tuple[str, ...]) -> tuple[str, ...]:
    if hasattr(trt, "ComputeCapability") and targets != (CURRENT,):
        return ()
    return tuple(f"sm{gpu.compute_capability.replace('.', '')}" for gpu in query_cuda_driver().gpus[:1])


def _build_interruptibly(
    trt: ModuleType, builder: Any, network: Any, config: Any, options: BuildOptions, progress: Progress
) -> Any:
    """Build in a thread, so that Ctrl-C reaches Python's main thread and not a callback inside the builder."""
    cancelled = threading.Event()
    if hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = _progress_monitor(trt, f"building {options.file.name}", cancelled, progress)
    with ThreadPoolExecutor(1, thread_name_prefix="engine-builder") as pool:
        building = pool.submit(builder.build_serialized_network, network, config)
        _wait(building, cancelled)
    try:
        return building.result()
    except Exception as error:  # whatever the binding raises
        raise EngineBuildError(f"{trt.__name__} {trt.__version__} failed on {options.onnx}: {error}") from error


def _wait(building: Future, cancelled: threading.Event) -> None:
    interrupted: KeyboardInterrupt | None = None
    while not building.done():
        try:
            wait([building], timeout=0.05)
        except KeyboardInterrupt as error:
            interrupted = error
            cancelled.set()
    if interrupted is not None:
        raise interrupted


def _progress_monitor(trt: ModuleType, title: str, cancelled: threading.Event, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._top: str | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._top = phase_name
                progress.start(title, num_steps)
            else:
                progress.advance(0, note=phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name == self._top:
                progress.advance()
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor()


def _errors(log: list[tuple[str, str]]) -> list[str]:
    return [message for severity, message in log if severity == "error"]


def _refusal(what: str, said: list[str]) -> EngineBuildError:
    text = "\n  ".join(said) if said else "it gave no reason"
    remedy = next((remedy for mark, remedy in _REMEDIES if mark in text), None)
    return EngineBuildError(
        f"{what}:\n  {text}", remedy=remedy or "look up the named operation in the product's list of operators"
    )
