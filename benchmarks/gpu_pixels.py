"""The step `in_graph` of `gpu_check`: does a GPU compute the pixel contract's bytes, alone and before a network?

Nothing in the graph may round (docs/guides/export.md, "Preprocessing in the graph"), so the tensors must be equal bit for
bit, with TF32 allowed as well; one wrong digit of a weight moves a pixel by a level.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gpu_subjects import (
    SQNR_LIMITS_DB,
    Setting,
    absent_rows,
    build_here,
    installed_products,
    onnx_files_of,
    open_subject,
    passed,
)

SIZES = ((375, 500), (500, 375), (256, 256), (224, 300), (1080, 1920), (2048, 2048), (900, 31), (7, 5), (1, 1))
"""Height and width: landscape, portrait, of the right size, enlarged, large, the largest, elongated, tiny."""
BATCH = 4


def in_graph(setting: Setting) -> Iterator[dict[str, Any]]:
    """Are the tensors of preprocessing in the graph the host's, bit for bit, and the logits of a network behind it?"""
    for product in installed_products():
        yield from _preprocessing(setting, product)
        yield from _networks(setting, product)
    yield from absent_rows()


def _preprocessing(setting: Setting, product: str) -> Iterator[dict[str, Any]]:
    from resnet_deploy.data.preprocess import preprocess
    from resnet_deploy.graph.files import write_onnx
    from resnet_deploy.graph.pixel_prefix import preprocess_model
    from resnet_deploy.nets.catalogue import IMAGENET_PREPROCESS

    onnx = setting.folder / "nets" / "preprocess.onnx"
    onnx.parent.mkdir(parents=True, exist_ok=True)
    write_onnx(preprocess_model(IMAGENET_PREPROCESS), onnx)
    for allowed in (False, True):
        row: dict[str, Any] = {"product": product, "what": f"preprocessing, TF32 {'allowed' if allowed else 'off'}"}
        built = _build(setting, row, onnx, product, f"preprocess.tf32-{allowed}", tf32=allowed, sanity=False)
        if built is None:
            yield row
            continue
        with open_subject(setting, onnx if setting.rehearse else built) as runner:
            for height, width in SIZES:
                images = _images(height, width)
                got = runner.run({"pixels": images})["images"]
                expected = np.stack([preprocess(image, IMAGENET_PREPROCESS) for image in images])
                yield {
                    **row,
                    "image": f"{width}x{height}",
                    "values that differ": int(np.count_nonzero(got != expected)),
                    "p50 ms, batch 1": None if setting.rehearse else _p50_ms(runner, images[:1]),
                    "result": _result(setting, np.array_equal(got, expected)),
                }


def _networks(setting: Setting, product: str) -> Iterator[dict[str, Any]]:
    from resnet_deploy.core.artifacts import read_manifest
    from resnet_deploy.data.preprocess import preprocess
    from resnet_deploy.engine.open import open_runner
    from resnet_deploy.export.in_graph import InGraphOptions, export_in_graph
    from resnet_deploy.verify.parity import compare_outputs

    for precision, host in onnx_files_of(setting, setting.net).items():
        row: dict[str, Any] = {"product": product, "what": f"{setting.net} {precision} behind it"}
        spec = read_manifest(host).preprocess
        onnx = export_in_graph(InGraphOptions(onnx=host)).file
        built = _build(setting, row, onnx, product, f"{setting.net}.pixels.{precision}")
        if built is None:
            yield row
            continue
        images = _images(375, 500)
        with open_subject(setting, onnx if setting.rehearse else built) as runner:
            got = runner.run({"pixels": images})[runner.info.outputs[0].name]
        with open_runner(host, backend="onnxruntime-cpu") as runner:
            source = runner.info.inputs[0]
            prepared = np.stack([preprocess(image, spec) for image in images]).astype(source.dtype)
            expected = runner.run({source.name: prepared})[runner.info.outputs[0].name]
        parity = compare_outputs([expected], [got])
        good = parity.sqnr_db >= SQNR_LIMITS_DB[precision] and row["sanity gate"] != "failed"
        yield {
            **row,
            "image": "500x375",
            "SQNR dB": parity.sqnr_db,
            "largest error": parity.max_abs_error,
            "result": _result(setting, good),
        }


def _build(setting: Setting, row: dict[str, Any], onnx: Path, product: str, name: str, **options: Any) -> Path | None:
    from resnet_deploy.engine.building.options import BatchProfile, SizeProfile

    batches = (BatchProfile(min=1, opt=BATCH, max=BATCH),)
    size = SizeProfile(min=(1, 1), opt=(375, 500), max=(2048, 2048))
    return build_here(
        setting, row, onnx, product=product, name=f"{product}.{name}", batches=batches, size=size, **options
    )


def _images(height: int, width: int) -> np.ndarray:
    """Noise, and of it black and white alone, which gives the largest sums."""
    noise = np.random.default_rng(height * 10_007 + width).integers(0, 256, (BATCH, height, width, 3), dtype=np.uint8)
    noise[1] = (noise[1] > 127).astype(np.uint8) * 255
    return noise


def _p50_ms(runner: Any, images: np.ndarray) -> float:
    from resnet_deploy.bench.measure.timing import Sampling, measure

    return measure(runner, {"pixels": images}, sampling=Sampling(min_seconds=0.2, max_seconds=1.0)).p50_ms


def _result(setting: Setting, good: bool) -> str:
    if good and setting.rehearse:
        return "not run: built; the ONNX file was run in its place"
    return passed(good)
