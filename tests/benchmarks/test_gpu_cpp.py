"""The step `cpp` of `make gpu-check`: what it finds without a GPU, and that one wrong value fails it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.test_gpu_pixels import setting


@pytest.mark.slow
def test_a_rehearsal_opens_every_network_in_its_place(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    import gpu_cpp
    from gpu_steps import run_step

    if gpu_cpp._library_folder() is None:
        pytest.skip("no build of the C++ SDK; run: make cpp")
    outcome = run_step("cpp", setting(tmp_path, rehearse=True))
    rows = [row for row in outcome.rows if row["product"] == "tensorrt-rtx"]
    assert outcome.state == "not run" and len(rows) == 3 * 4
    assert all(row["result"] == "not run: built; the ONNX file was run in its place" for row in rows)
    assert {row.get("largest error", 0.0) for row in rows} == {0.0}


def test_without_a_built_sdk_it_says_so(tmp_path, monkeypatch):
    import gpu_cpp

    monkeypatch.setattr(gpu_cpp, "installed_products", lambda: ["tensorrt-rtx"])
    monkeypatch.setenv("RESNET_DEPLOY_CPP_BUILD", str(tmp_path))
    first = next(gpu_cpp.cpp(setting(tmp_path, rehearse=False)))
    assert first["result"] == "not run: no SDK with the backend tensorrt_rtx; make cpp"


class OneValueOff:
    """A session that is a bit off in every tenth answer."""

    calls = 0

    def session(self, **_: int):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, images):
        OneValueOff.calls += 1
        answer = np.zeros((len(images), 2), np.float32)
        if OneValueOff.calls % 10 == 0:
            answer[-1, 1] = np.nextafter(np.float32(0), np.float32(1))
        return answer


def test_threads_that_get_other_bits_are_counted(tmp_path):
    import gpu_cpp

    images = np.zeros((8, 3, 4, 4), np.float32)
    expected = {batch: np.zeros((batch, 2), np.float32) for batch in gpu_cpp.BATCHES}
    there = setting(tmp_path, rehearse=True)
    assert gpu_cpp._from_threads(there, OneValueOff(), images, expected, 2) == gpu_cpp._num_requests(there) // 10
    assert gpu_cpp._result(there, False) == "FAILED"
