"""The step `cpp` of `gpu_check`: does the C++ SDK give on a GPU what Python's runner gives there?

It needs the SDK with the backend of the product: `make cpp CPP_ARGS=-DTENSORRT_RTX_ROOT=...` (docs/reference/cpp-backends.md);
RESNET_DEPLOY_CPP_BUILD names another build than build/cpp.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gpu_subjects import Setting, absent_rows, build_here, installed_products, onnx_files_of, open_subject, passed

REPOSITORY = Path(__file__).resolve().parent.parent
BATCHES = (1, 3, 8)
NUM_THREADS, NUM_REQUESTS = 8, 10_000
_BACKENDS = {"tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
_LIBRARIES = {"tensorrt-rtx": ("RESNET_DEPLOY_TENSORRT_RTX", "tensorrt_rtx_libs"),
              "tensorrt": ("RESNET_DEPLOY_TENSORRT", "tensorrt_libs")}  # fmt: skip


def cpp(setting: Setting) -> Iterator[dict[str, Any]]:
    """Does the C++ SDK open bundles of engines, pass their self-test, and give Python's bits, from one thread and from eight?"""
    folder = _library_folder()
    for product in installed_products():
        backend = "openvino" if setting.rehearse else _BACKENDS[product]
        row: dict[str, Any] = {"product": product}
        if folder is None or not (folder / f"libresnet_deploy_{backend}.so").exists():
            yield {**row, "result": f"not run: no SDK with the backend {backend}; make cpp"}
            continue
        _name_library(product)
        for precision, onnx in onnx_files_of(setting, setting.net).items():
            yield from _one_engine(setting, {**row, "precision": str(precision)}, folder, onnx, product, backend)
    yield from absent_rows()


def _one_engine(
    setting: Setting, row: dict[str, Any], folder: Path, onnx: Path, product: str, backend: str
) -> Iterator[dict[str, Any]]:
    from resnet_deploy.engine.building.options import BatchProfile
    from resnet_deploy.pipeline.bundle.make import BundleOptions, make_bundle
    from tests.cpp.sdk_library import SdkError, SdkLibrary

    profile = (BatchProfile(min=1, opt=max(BATCHES), max=max(BATCHES)),)
    built = build_here(setting, row, onnx, product=product, name=f"cpp.{product}.{row['precision']}", batches=profile)
    if built is None:
        yield row
        return
    files = (onnx,) if setting.rehearse else (built,)
    out = setting.folder / "bundles" / f"{product}.{row['precision']}.bundle"
    bundle = make_bundle(BundleOptions(files=files, out=out, fallback=False, force=True)).file
    with open_subject(setting, files[0]) as runner:
        images = _images(runner.info.inputs[0])
        expected = {
            batch: next(iter(runner.run({runner.info.inputs[0].name: images[:batch]}).values())) for batch in BATCHES
        }
    library, num_outputs = SdkLibrary(folder), expected[1].shape[1]
    try:
        with library.open(bundle, backends=backend, num_threads=0) as engine:
            for batch in BATCHES:
                got = engine.run(images[:batch], num_outputs=num_outputs, max_batch=max(BATCHES))
                largest = float(np.abs(got - expected[batch]).max())
                yield {
                    **row,
                    "what": f"batch {batch}",
                    "largest error": largest,
                    "result": _result(setting, largest == 0),
                }
            wrong = _from_threads(setting, engine, images, expected, num_outputs)
            what = f"{NUM_THREADS} threads, {_num_requests(setting)} requests"
            yield {**row, "what": what, "that differ": wrong, "result": _result(setting, wrong == 0)}
    except SdkError as error:
        yield {**row, "what": "open and run", "result": f"FAILED: {error}"}


def _from_threads(
    setting: Setting, engine: Any, images: np.ndarray, expected: dict[int, np.ndarray], num_outputs: int
) -> int:
    """Requests of batch 1 and 3 in turn, each thread with a session of its own; how many got other bits."""
    wrong, lock = [0], threading.Lock()

    def work(number: int) -> None:
        with engine.session(num_outputs=num_outputs, max_batch=max(BATCHES)) as session:
            for i in range(number, _num_requests(setting), NUM_THREADS):
                batch = BATCHES[i // NUM_THREADS % 2]
                if not np.array_equal(session.run(images[:batch]), expected[batch]):
                    with lock:
                        wrong[0] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(NUM_THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return wrong[0]


def _num_requests(setting: Setting) -> int:
    return 8 * NUM_THREADS if setting.rehearse else NUM_REQUESTS


def _images(spec: Any) -> np.ndarray:
    shape = tuple(size if isinstance(size, int) and size > 0 else 224 for size in spec.shape[1:])
    return np.random.default_rng(0).standard_normal((max(BATCHES), *shape), dtype=np.float32)


def _library_folder() -> Path | None:
    sys.path.insert(0, str(REPOSITORY))  # for tests.cpp.sdk_library
    build = Path(os.environ.get("RESNET_DEPLOY_CPP_BUILD", REPOSITORY / "build" / "cpp"))
    return next((folder for folder in (build, build / "lib") if (folder / "libresnet_deploy.so").exists()), None)


def _name_library(product: str) -> None:
    """The module loads the library that Python runs."""
    variable, package = _LIBRARIES[product]
    if spec := importlib.util.find_spec(package):
        os.environ.setdefault(variable, str(Path(spec.submodule_search_locations[0])))


def _result(setting: Setting, good: bool) -> str:
    if good and setting.rehearse:
        return "not run: built; the ONNX file was run in its place"
    return passed(good)
