import json
import os
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.core.errors import DataError, WorkerError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data import pixel_cache
from resnet_deploy.data.pixel_cache import make_pixel_cache
from resnet_deploy.data.preprocess import crop_pixels
from resnet_deploy.data.source import open_images
from tests.data.conftest import NumberedSource, children

SPEC = Preprocess(height_px=8, width_px=8, resize_shorter_px=8, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture
def only_workers(monkeypatch):
    """Hand everything but the first chunk to workers, as a set that takes longer than a second."""
    monkeypatch.setattr(pixel_cache, "_ALONE_S", 0)


def expected(source, indices):
    return np.stack([crop_pixels(source.image(int(i)), SPEC) for i in indices])


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_the_pixels_are_those_of_the_preprocessing(tmp_path, only_workers, num_workers):
    source = NumberedSource(300)
    cache = make_pixel_cache(source, SPEC, tmp_path / "a.pixels", num_workers=num_workers)
    everything = np.arange(300)
    assert len(cache) == 300 and cache.bad == () and np.array_equal(cache.labels, source.labels)
    assert np.array_equal(cache.read(everything), expected(source, everything))
    mixed = np.array([299, 0, 1, 2, 7, 7, 6, 150])
    assert np.array_equal(cache.read(mixed), expected(source, mixed))
    assert cache.read(np.array([], dtype=np.int64)).shape == (0, 8, 8, 3)
    with pytest.raises(IndexError):
        cache.read(np.array([300]))


def test_small_sets_start_no_process(tmp_path, monkeypatch):
    def refuse(task, items, **_):
        assert not list(items)
        return iter(())

    monkeypatch.setattr(pixel_cache, "map_in_processes", refuse)
    assert len(make_pixel_cache(open_images("digits", split="val"), SPEC, tmp_path / "d.pixels")) == 599


def test_bad_images_are_left_out_and_named(tmp_path, only_workers):
    source = NumberedSource(200, broken=(0, 70, 199))
    cache = make_pixel_cache(source, SPEC, tmp_path / "a.pixels", num_workers=2, skip_bad=3)
    assert [bad.name for bad in cache.bad] == ["number/0.png", "number/70.png", "number/199.png"]
    assert cache.bad[1].reason == "can not be decoded (planted)" and cache.bad[1].index == 70
    assert cache.kept.tolist() == [i for i in range(200) if i not in (0, 70, 199)]
    assert np.array_equal(cache.labels, source.labels[cache.kept])
    assert np.array_equal(cache.read(np.arange(197)), expected(source, cache.kept))  # no shift behind a hole


@pytest.mark.parametrize("skip_bad, message", [(0, r"^number/\d+\.png: can not"), (2, "3 images can not be used")])
def test_too_many_bad_images_leave_no_file_and_no_worker(tmp_path, only_workers, skip_bad, message):
    source = NumberedSource(2000, broken=(70, 170, 199))
    with pytest.raises(DataError, match=message) as caught:
        make_pixel_cache(source, SPEC, tmp_path / "a.pixels", skip_bad=skip_bad, num_workers=2)
    assert os.listdir(tmp_path) == [] and not children()
    assert caught.tb is not None  # though the error still holds every frame


def test_a_cache_is_used_again_and_its_bad_images_count_again(tmp_path, monkeypatch):
    source = NumberedSource(50, broken=(7,))
    first = make_pixel_cache(source, SPEC, tmp_path / "a.pixels", skip_bad=1)
    monkeypatch.setattr(source, "image", lambda index: pytest.fail("decoded again"))
    again = make_pixel_cache(source, SPEC, tmp_path / "a.pixels", skip_bad=1)
    assert again.bad == first.bad and np.array_equal(again.read(np.arange(49)), first.read(np.arange(49)))
    with pytest.raises(DataError, match=r"number/7\.png"):
        make_pixel_cache(source, SPEC, tmp_path / "a.pixels")


@pytest.mark.parametrize("change", ["source", "preprocess", "pillow", "cut", "sidecar", "half sidecar"])
def test_a_stale_cache_is_made_anew(tmp_path, monkeypatch, change):
    file, spec, source = tmp_path / "a.pixels", SPEC, NumberedSource(50)
    make_pixel_cache(source, spec, file)
    sidecar = tmp_path / "a.pixels.json"
    if change == "source":
        source = NumberedSource(50, side=20)
    if change == "preprocess":
        spec = Preprocess(height_px=8, width_px=8, resize_shorter_px=9, mean=SPEC.mean, std=SPEC.std)
    if change == "pillow":
        monkeypatch.setattr(pixel_cache.PIL, "__version__", "0.1")
    if change == "cut":
        os.truncate(file, 1000)
    if change == "sidecar":
        sidecar.unlink()
    if change == "half sidecar":
        sidecar.write_text(sidecar.read_text()[:100])
    file.write_bytes(bytes(file.stat().st_size))  # so that what is not made anew is seen
    cache = make_pixel_cache(source, spec, file)
    wanted = np.stack([crop_pixels(source.image(i), spec) for i in range(50)])
    assert np.array_equal(cache.read(np.arange(50)), wanted)
    assert json.loads(sidecar.read_text())["source"] == source.fingerprint()


def test_a_planted_wrong_pixel_is_seen(tmp_path):
    """The comparisons above would notice one byte."""
    source = NumberedSource(50)
    cache = make_pixel_cache(source, SPEC, tmp_path / "a.pixels")
    with open(cache.file, "rb+") as file:
        file.seek(30 * 8 * 8 * 3)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    assert not np.array_equal(cache.read(np.arange(50)), expected(source, range(50)))


def test_a_file_cut_off_while_open_is_named(tmp_path):
    cache = make_pixel_cache(NumberedSource(50), SPEC, tmp_path / "a.pixels")
    os.truncate(cache.file, 1000)
    with pytest.raises(DataError, match=r"a\.pixels is cut off at 1000 bytes"):
        cache.read(np.arange(50))


def test_a_killed_worker_leaves_the_old_file(tmp_path, only_workers):
    make_pixel_cache(NumberedSource(200), SPEC, tmp_path / "a.pixels", num_workers=2)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    parent = os.getpid()

    class Deadly(NumberedSource):
        def image(self, index):
            if index == 150 and os.getpid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().image(index)

    with pytest.raises(WorkerError, match="killed or crashed"):
        make_pixel_cache(Deadly(200, side=11), SPEC, tmp_path / "a.pixels", num_workers=2)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_ctrl_c_leaves_no_file(tmp_path, only_workers):
    class Slow(NumberedSource):
        def image(self, index):
            if index >= 64:
                time.sleep(0.01)
            return super().image(index)

    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        make_pixel_cache(Slow(5000), SPEC, tmp_path / "a.pixels", num_workers=2)
    assert os.listdir(tmp_path) == []


def test_a_corrupt_file_in_a_folder_is_named(tmp_path):
    for i in range(5):
        folder = tmp_path / "set" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (i, 0, 0)).save(folder / f"{i}.png")
    (tmp_path / "set" / "b" / "3.png").write_bytes(b"\x89PNG broken")
    source = open_images(str(tmp_path / "set"))
    with pytest.raises(DataError, match=r"set/b/3\.png: can not be decoded"):
        make_pixel_cache(source, SPEC, tmp_path / "a.pixels")
    cache = make_pixel_cache(source, SPEC, tmp_path / "a.pixels", skip_bad=1)
    assert [os.path.basename(bad.name) for bad in cache.bad] == ["3.png"] and len(cache) == 4
