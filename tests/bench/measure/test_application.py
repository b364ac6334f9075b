from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.bench.measure.application import (
    Photos,
    measure_application,
    read_photos,
    synthetic_photos,
    why_no_requests,
)
from resnet_deploy.bench.measure.timing import Sampling
from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess, TensorSpec
from resnet_deploy.data.decode import decode_image
from resnet_deploy.data.preprocess import preprocess
from resnet_deploy.engine.contract import RunnerInfo

_SPEC = Preprocess(height_px=16, width_px=16, resize_shorter_px=20, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
_SAMPLING = Sampling(min_seconds=0.05, min_samples=5, max_seconds=0.3)


class Network:
    """`run` waits 3 ms, of which the pass alone is 2 ms; it keeps what it was fed."""

    def __init__(self, dtype: str = "float32") -> None:
        spec = TensorSpec(name="images", dtype=dtype, shape=("N", 3, 16, 16))
        self.info = RunnerInfo(backend="network", version="1", device="cpu", file="x", inputs=(spec,), outputs=())
        self.fed: list[np.ndarray] = []

    def run(self, feeds: dict) -> dict:
        self.fed.append(feeds["images"])
        time.sleep(0.003)
        return {"logits": np.tile(np.arange(10, dtype=np.float32), (len(feeds["images"]), 1))}

    def timed_loop(self, feeds: dict, iterations: int) -> np.ndarray:
        return np.full(iterations, 0.002)


def _jpeg(side: int, value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, dtype=np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def test_a_request_is_the_sum_of_its_parts_and_copies_are_what_the_pass_leaves_over() -> None:
    timing, found = measure_application(
        Network(), _SPEC, synthetic_photos(_SPEC), batch=2, sampling=_SAMPLING, decode_threads=2
    )
    assert [stage.name for stage in found.stages] == ["decode", "preprocess", "copies", "network", "postprocess"]
    stages = {stage.name: stage for stage in found.stages}
    assert sum(stage.share for stage in found.stages) == pytest.approx(1)
    assert stages["network"].p50_ms == pytest.approx(2.0) and stages["copies"].p50_ms >= 0.9
    assert timing.p50_ms >= sum(stage.p50_ms for stage in found.stages) * 0.7 and timing.batch == 2
    assert timing.images_per_second == pytest.approx(2e3 / timing.mean_ms) and found.decode_threads == 2
    assert found.pipelined_images_per_second > 0 and found.bound_by


def test_the_network_is_fed_what_the_preprocessing_makes_of_the_files() -> None:
    network = Network()
    photos = Photos(files=(_jpeg(40, 10), _jpeg(40, 200)), names=("a", "b"), source="two")
    measure_application(network, _SPEC, photos, batch=2, sampling=_SAMPLING, decode_threads=1)
    expected = np.stack([preprocess(decode_image(data, name="x"), _SPEC) for data in photos.files])
    assert all(np.array_equal(fed, expected) for fed in network.fed)
    half = Network("float16")
    measure_application(half, _SPEC, photos, batch=1, sampling=_SAMPLING, decode_threads=1)
    assert half.fed[0].dtype == np.float16


def test_what_bounds_the_pipeline_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(data: bytes, *, name: str) -> np.ndarray:
        time.sleep(0.02)
        return np.zeros((20, 20, 3), dtype=np.uint8)

    photos = synthetic_photos(_SPEC)
    assert (
        "the network"
        in measure_application(Network(), _SPEC, photos, batch=1, sampling=_SAMPLING, decode_threads=8)[1].bound_by
    )
    monkeypatch.setattr("resnet_deploy.bench.measure.application.decode_image", slow)
    timing, found = measure_application(Network(), _SPEC, photos, batch=1, sampling=_SAMPLING, decode_threads=4)
    assert "decoding and preprocessing on 4 threads" in found.bound_by
    # four threads that sleep 20 ms each feed faster than one request after another
    assert found.pipelined_images_per_second > 1.5 * timing.images_per_second


def test_the_five_best_classes_come_best_first() -> None:
    from resnet_deploy.bench.measure.application import _Requests

    requests = _Requests(Network(), _SPEC, synthetic_photos(_SPEC), 1)
    best = requests.best_classes({"logits": np.array([[0.1, 0.9, 0.3, 0.2, 0.8, 0.0, 0.5]])})
    assert best.tolist() == [[1, 4, 6, 2, 3]]


def test_synthetic_photos_are_the_same_every_time_and_as_large_as_photographs() -> None:
    imagenet = Preprocess(height_px=224, width_px=224, resize_shorter_px=256, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    photos = synthetic_photos(imagenet)
    assert photos.files == synthetic_photos(imagenet).files
    assert decode_image(photos.files[0], name="x").shape == (384, 512, 3)
    assert 40_000 < np.mean([len(data) for data in photos.files]) < 200_000
    fixed = Preprocess(height_px=32, width_px=32, resize_shorter_px=None, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    assert decode_image(synthetic_photos(fixed).files[0], name="x").shape == (32, 32, 3)


def test_photos_of_a_folder_are_read_in_order_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "a/1.jpeg", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(_jpeg(24, 5))
    photos = read_photos(tmp_path)
    assert [Path(name).name for name in photos.names] == ["1.jpeg", "2.jpg"] and photos.source.startswith("2 files")
    with pytest.raises(DataError, match="no image in it"):
        read_photos((tmp_path / "c", (tmp_path / "c").mkdir())[0])
    with pytest.raises(DataError, match="no such folder"):
        read_photos(tmp_path / "nowhere")


def test_a_file_that_can_not_be_decoded_is_named() -> None:
    photos = Photos(files=(b"no jpeg",), names=("broken.jpg",), source="one")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        measure_application(Network(), _SPEC, photos, batch=1, sampling=_SAMPLING)


def test_what_takes_no_requests_says_why() -> None:
    assert "names no preprocessing" in why_no_requests(Network(), None)
    assert "floating-point" in why_no_requests(Network("uint8"), _SPEC)
    assert why_no_requests(Network("float16"), _SPEC) == ""
