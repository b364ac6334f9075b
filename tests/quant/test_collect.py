from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import numpy_helper

from resnet_deploy.core.errors import CalibrationError, DataError
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.source import Subset, open_images
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.quant import collect
from resnet_deploy.quant.collect import Keep, collect_statistics
from resnet_deploy.quant.placement import find_placement
from tests.reference.small_networks import bottleneck_onnx, resnet8_onnx, small_preprocess

PREPROCESS = find_net("resnet8").preprocess


def _plain(collected) -> tuple:
    """Everything but the positions, which name images by their place in the sample."""
    tensors = {
        name: (s.minimum, s.maximum, s.exponent, s.num_zeros, s.counts.tolist())
        for name, s in collected.tensors.items()
    }
    return tensors, sorted(collected.hashes), collected.num_images, collected.num_constant


def _collect(images, **options):
    model = resnet8_onnx()
    return collect_statistics(model, find_placement(model).tensors, images, PREPROCESS, **options)


class Pictures:
    """Images made in memory, for what no file would hold."""

    description, classes = "pictures", ()

    def __init__(self, images: list[np.ndarray]) -> None:
        self._images = images
        self.labels = np.full(len(images), -1)

    def __len__(self):
        return len(self._images)

    def image(self, index):
        return self._images[index]

    def name(self, index):
        return f"picture {index}"


def _noise(number: int = 0) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def of_nine_images():
    return _plain(_collect(Subset(open_images("noise"), np.arange(9)), num_threads=1))


@pytest.mark.parametrize("threads", [1, 7, 64])
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_threads_batches_and_order_leave_no_trace(of_nine_images, threads, batch):
    shuffled = Subset(open_images("noise"), np.random.default_rng(0).permutation(9))
    assert _plain(_collect(shuffled, num_threads=threads, batch=batch)) == of_nine_images


def test_other_images_leave_a_trace():
    source = open_images("noise")
    assert _plain(_collect(Subset(source, np.arange(4)))) != _plain(_collect(Subset(source, np.arange(1, 5))))


def test_bottlenecks_and_max_pool_do_not_depend_on_the_batch():
    model = bottleneck_onnx()
    tensors, source = find_placement(model).tensors, Subset(open_images("noise"), np.arange(5))
    results = [
        _plain(collect_statistics(model, tensors, source, small_preprocess(), batch=batch, num_threads=1))
        for batch in (1, 3, 5)
    ]
    assert results[0] == results[1] == results[2]


class _BatchDependent:
    """A session whose activations change in the last bit where several images share a pass."""

    def __init__(self, session) -> None:
        self._session = session

    def run(self, names, feed):
        values = self._session.run(names, feed)
        if len(feed["images"]) > 1:
            values[-1] = np.nextafter(values[-1], np.float32(np.inf))
        return values


def test_a_batch_that_changes_one_bit_is_refused(monkeypatch):
    monkeypatch.setattr(collect, "open_session", lambda *a, **k: _BatchDependent(open_session(*a, **k)))
    from resnet_deploy.graph.session import open_session

    images = Subset(open_images("noise"), np.arange(4))
    tensor = find_placement(resnet8_onnx()).tensors[-1]
    with pytest.raises(CalibrationError, match=rf"{tensor!r}.*in a pass of 4 images") as caught:
        _collect(images, batch=4)
    assert "--batch 1" in caught.value.remedy
    _collect(images, batch=1)


def test_repeats_and_constant_images_are_counted():
    pictures = Pictures([np.full((32, 32, 3), 7 if i < 3 else 8, dtype=np.uint8) for i in range(4)])
    seen = _collect(pictures)
    assert (seen.num_images, len(seen.hashes), seen.num_constant) == (4, 2, 4)


def test_the_model_is_as_it_was():
    model = resnet8_onnx()
    before = model.SerializeToString()
    collect_statistics(model, find_placement(model).tensors, Subset(open_images("noise"), [0]), PREPROCESS)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("batch", [1, 3])
def test_not_a_number_names_the_tensor_and_the_image(batch):
    """1e38 times a white pixel overflows; black ones do not: only the third image is to blame."""
    model = resnet8_onnx()
    weight = next(t for t in model.graph.initializer if t.name == "conv1.weight")
    weight.CopyFrom(numpy_helper.from_array(np.full([16, 3, 3, 3], 1e38, np.float32), weight.name))
    bias = next(t for t in model.graph.initializer if t.name == "conv1.bias")
    bias.CopyFrom(numpy_helper.from_array(np.zeros(16, np.float32), bias.name))
    mean = np.rint(np.float32(PREPROCESS.mean) * 255).astype(np.uint8)  # about 0 after preprocessing
    calm = np.broadcast_to(mean, (32, 32, 3))
    pictures = Pictures([calm, calm, np.full((32, 32, 3), 255, np.uint8)])
    tensors = [name for name in find_placement(model).tensors if name in ("images", "relu")]
    with pytest.raises(CalibrationError, match=r"picture 2: tensor 'relu': \d+ of \d+ activations are NaN or infinite"):
        collect_statistics(model, tensors, pictures, PREPROCESS, num_threads=1, batch=batch)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((32, 32), np.uint8), r"\[32, 32\] uint8, expected \[H, W, 3\] uint8"),
        (np.zeros((32, 32, 4), np.uint8), r"\[32, 32, 4\] uint8"),
        (np.zeros((32, 32, 3), np.float32), "float32"),
        (np.zeros((20, 32, 3), np.uint8), "32x20 px, the network's input 32x32 px"),
    ],
)
def test_an_image_of_another_form_is_named(image, message):
    pictures, model = Pictures([_noise(), image]), resnet8_onnx()
    as_they_are = replace(PREPROCESS, resize_shorter_px=None)
    with pytest.raises(DataError, match=f"picture 1.*{message}"):
        collect_statistics(model, ["images"], pictures, as_they_are)
    bad = BadImages(1)
    assert collect_statistics(model, ["images"], pictures, as_they_are, bad=bad).num_images == 1
    assert [item.index for item in bad] == [1]


@pytest.mark.parametrize(("axis", "size"), [(1, 1), (2, 28)])
def test_a_network_for_other_images_is_refused(axis, size):
    model = resnet8_onnx()
    model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    with pytest.raises(CalibrationError, match=rf"'images' is .*\b{size}\b.*preprocessing gives \['N', 3, 32, 32\]"):
        collect_statistics(model, ["images"], Subset(open_images("noise"), [0]), PREPROCESS)


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError("disk is gone")])
def test_an_interrupted_pass_hands_over_whole_images_and_goes_on(error):
    """The images of the second pass are counted: none is taken twice."""
    source = Subset(open_images("noise"), np.arange(8))
    expected = _plain(_collect(source))
    kept, read = [], []

    class Failing(Subset):
        def name(self, index):  # outside what may be skipped as a bad image
            if index == 5:
                raise error
            return super().name(index)

    keep = Keep(save=kept.append, every_s=1000.0)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else DataError):
        _collect(Failing(open_images("noise"), np.arange(8)), keep=keep, num_threads=1)
    (done,) = kept
    assert done.positions == set(range(5))

    class Counting(Subset):
        def image(self, index):
            read.append(index)
            return super().image(index)

    whole = _collect(Counting(open_images("noise"), np.arange(8)), done=done)
    assert _plain(whole) == expected and sorted(read) == [5, 6, 7]


def test_work_is_kept_every_so_often():
    kept = []
    keep = Keep(save=kept.append, every_s=0.0)
    whole = _collect(Subset(open_images("noise"), np.arange(30)), keep=keep, num_threads=2)
    assert kept and all(part.positions <= whole.positions for part in kept)
    values_per_image = 3 * 32 * 32
    assert all(part.tensors["images"].num_values == part.num_images * values_per_image for part in kept)


@pytest.mark.parametrize(
    ("size", "batch", "match"),
    [(4, 1, "takes a batch of 4 alone, calibration gives it one image"), (1, 2, "takes one image at a time, not 2")],
)
def test_a_network_of_another_batch_is_refused_before_it_runs(size, batch, match):
    model = resnet8_onnx()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    images = Pictures([_noise(i) for i in range(4)])
    with pytest.raises(CalibrationError, match=match):
        collect_statistics(model, find_placement(model).tensors, images, PREPROCESS, batch=batch)


def test_a_network_of_one_image_at_a_time_is_calibrated():
    model = resnet8_onnx()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    images = Pictures([_noise(i) for i in range(3)])
    assert collect_statistics(model, find_placement(model).tensors, images, PREPROCESS, num_threads=1).num_images == 3
