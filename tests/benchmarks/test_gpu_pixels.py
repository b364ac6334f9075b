"""The step `in_graph` of `make gpu-check`: what it builds without a GPU, and that one wrong value fails it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.data.preprocess import preprocess
from resnet_deploy.nets.catalogue import IMAGENET_PREPROCESS


def setting(folder: Path, *, rehearse: bool):
    from gpu_subjects import Setting

    return Setting(folder=folder, rehearse=rehearse, net="resnet8", batches=(1,), seconds=0.01)


@pytest.mark.slow
def test_a_rehearsal_builds_every_engine_and_compares_in_its_place(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    from gpu_pixels import SIZES
    from gpu_steps import run_step

    outcome = run_step("in_graph", setting(tmp_path, rehearse=True))
    rows = [row for row in outcome.rows if row["product"] == "tensorrt-rtx"]
    assert outcome.state == "not run" and len(rows) == 2 * len(SIZES) + 3
    assert all(row["result"] == "not run: built; the ONNX file was run in its place" for row in rows)
    assert {row["values that differ"] for row in rows if "values that differ" in row} == {0}
    assert all(row["SQNR dB"] > 25 for row in rows if "SQNR dB" in row)


class Prepared:
    """Stands in for an engine of the preprocessing; on images of one size it is a bit off."""

    info = SimpleNamespace(inputs=(TensorSpec(name="pixels", dtype="uint8", shape=(-1, -1, -1, 3)),))

    def run(self, feeds: dict) -> dict:
        found = np.stack([preprocess(image, IMAGENET_PREPROCESS) for image in feeds["pixels"]])
        if feeds["pixels"].shape[1:3] == (900, 31):
            found[0, 0, 0, 0] = np.nextafter(found[0, 0, 0, 0], np.float32(9))
        return {"images": found}

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None: ...


def test_one_value_that_is_a_bit_off_fails_the_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import gpu_pixels
    import gpu_steps

    monkeypatch.setattr(gpu_pixels, "installed_products", lambda: ["tensorrt-rtx"])
    monkeypatch.setattr(gpu_pixels, "build_here", lambda *_, **__: tmp_path / "x.engine")
    monkeypatch.setattr(gpu_pixels, "open_subject", lambda *_: Prepared())
    monkeypatch.setattr(gpu_pixels, "_p50_ms", lambda *_: 1.0)
    monkeypatch.setattr(gpu_pixels, "_networks", lambda *_: iter(()))
    outcome = gpu_steps.run_step("in_graph", setting(tmp_path, rehearse=False))
    results = {row["image"]: (row["values that differ"], row["result"]) for row in outcome.rows if "image" in row}
    assert outcome.state == "failed" and results.pop("31x900") == (1, "FAILED")
    assert set(results.values()) == {(0, "passed")}
