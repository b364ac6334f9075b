"""What the steps of `gpu_check` look at: networks, engines for the GPU here, and what they answer.

In a rehearsal engines are built and not run, and ONNX Runtime's and OpenVINO's processors stand in for a GPU's.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SQNR_LIMITS_DB = {"fp32": 80.0, "fp16": 40.0, "bf16": 25.0, "int8": 25.0}
"""Engine against the same ONNX file in ONNX Runtime on the processor. FP32: 1e-4 of the logits, the order of sums.
FP16 (BF16): 11 (8) bits a value, errors that add up over 20 to 150 layers. INT8: the same integers but where a value
lies on the border of two, and FP16 between."""

NUM_IMAGES = 16
REHEARSAL_TARGET = "sm89"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every step is told; see the options of gpu_check."""

    folder: Path
    rehearse: bool
    net: str
    batches: tuple[int, ...]
    seconds: float


def installed_products() -> list[str]:
    from resnet_deploy.engine.products import PRODUCTS

    return [product.name for product in PRODUCTS.values() if product.installed]


def absent_rows() -> Iterator[dict[str, Any]]:
    from resnet_deploy.engine.products import PRODUCTS

    for product in PRODUCTS.values():
        if not product.installed:
            yield {"product": product.name, "result": "not run: not installed"}


def onnx_files_of(setting: Setting, net: str) -> dict[Any, Path]:
    from resnet_deploy.nets.catalogue import find_net
    from resnet_deploy.pipeline.onnx_files import make_onnx_files

    return make_onnx_files(find_net(net), folder=setting.folder / "nets").onnx


def build_here(
    setting: Setting, row: dict[str, Any], onnx: Path, *, product: str, name: str, **options: Any
) -> Path | None:
    """An engine for the GPU here; None where it was refused, `row` then says why."""
    from resnet_deploy.core.errors import EngineBuildError, MissingDependencyError
    from resnet_deploy.engine.building.build import build_engine
    from resnet_deploy.engine.building.options import BuildOptions

    target = () if product == "tensorrt" else (REHEARSAL_TARGET if setting.rehearse else "current",)
    out = setting.folder / "engines" / f"{name}.engine"
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        built = build_engine(BuildOptions(onnx=onnx, product=product, targets=target, out=out, **options))
    except MissingDependencyError as error:
        row["result"] = f"not run: {error.message}" if setting.rehearse else f"FAILED: {error.message}"
        return None
    except EngineBuildError as error:
        row["result"] = f"FAILED: {error.message}"
        return None
    row |= {"MiB": built.size_bytes / 2**20, "built in s": built.seconds, "sanity gate": built.sanity}
    return built.file


def compared_rows(
    setting: Setting, row: dict[str, Any], built: Path | None, onnx: Path, precision: str
) -> Iterator[dict[str, Any]]:
    """`row` with the engine's answers compared with ONNX Runtime's on the processor."""
    from resnet_deploy.engine.open import open_runner
    from resnet_deploy.verify.parity import compare_outputs

    if built is None:
        yield row
        return
    stand_in = {"backend": stand_in_backend()} if setting.rehearse else {}
    with open_runner(onnx if setting.rehearse else built, **stand_in) as runner:
        (got,) = answers_of(runner, NUM_IMAGES)
    with open_runner(onnx, backend="onnxruntime-cpu") as runner:
        (expected,) = answers_of(runner, NUM_IMAGES)
    parity = compare_outputs([expected], [got])
    limit = SQNR_LIMITS_DB[precision]
    result = "passed" if parity.sqnr_db >= limit else f"FAILED: below {limit:g} dB"
    if row["sanity gate"] == "failed":
        result = "FAILED: sanity gate"
    if setting.rehearse and result == "passed":
        result = "not run: built; the ONNX file was run in its place"
    yield {**row, "SQNR dB": parity.sqnr_db, "result": result}


def fp16_engines(setting: Setting, *, stand_in: bool = True) -> Iterator[tuple[str, Path]]:
    """(product, engine) of the FP16 network; in a rehearsal (stand-in, ONNX file), unless `stand_in` is false."""
    onnx = next(file for precision, file in onnx_files_of(setting, setting.net).items() if precision == "fp16")
    if setting.rehearse and stand_in:
        yield stand_in_backend(), onnx
        return
    for product in installed_products():
        row: dict[str, Any] = {}
        built = build_here(setting, row, onnx, product=product, name=f"{product}.fp16")
        if built is not None:
            yield product, built


def stand_in_backend() -> str:
    return "openvino" if importlib.util.find_spec("openvino") else "onnxruntime-cpu"


def open_subject(setting: Setting, file: Path, **options: Any) -> Any:
    from resnet_deploy.engine.open import open_runner

    return open_runner(file, backend=stand_in_backend() if setting.rehearse else None, **options)


def answers_of(runner: Any, *batches: int) -> list[np.ndarray]:
    """First output for the same standard normal images, at each batch size."""
    name, output = runner.info.inputs[0], runner.info.outputs[0].name
    side = 32 if name.shape[-1] == 32 else 224
    rng = np.random.default_rng(0)
    images = rng.standard_normal((max(batches), 3, side, side), dtype=np.float32).astype(name.dtype)
    return [runner.run({name.name: images[:batch]})[output] for batch in batches]


def p50_ms_of(runner: Any, batch: int) -> float:
    from resnet_deploy.bench.measure.timing import Sampling, measure

    spec = runner.info.inputs[0]
    shape = tuple(size if isinstance(size, int) and size > 0 else 224 for size in spec.shape[1:])
    feeds = {spec.name: np.zeros((batch, *shape), spec.dtype)}
    return measure(runner, feeds, sampling=Sampling(min_seconds=0.5, max_seconds=3.0)).p50_ms


def passed(good: bool) -> str:
    """What a row of a step says of a check."""
    return "passed" if good else "FAILED"
