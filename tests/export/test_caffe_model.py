from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.export.caffe_model import read_caffemodel, read_mean_image
from tests.reference.caffe_network import _messages, caffemodel_bytes, v1_caffemodel_bytes


@pytest.fixture
def blobs() -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    return {
        "conv1": [draw(4, 3, 7, 7), draw(4)],
        "bn_conv1": [draw(4), draw(4), draw(1)],
        "res3a_branch2a": [draw(2, 4, 1, 1)],
        "fc1000": [draw(5, 2), draw(5)],
    }


def written(folder, data: bytes, name="net.caffemodel"):
    (folder / name).write_bytes(data)
    return folder / name


def test_a_caffemodel_written_by_protobuf_reads_back_bit_for_bit(blobs, tmp_path):
    read, facts = read_caffemodel(written(tmp_path, caffemodel_bytes(blobs, eps=1e-3)))
    assert list(read) == [f"{name}.{i}" for name, parts in blobs.items() for i in range(len(parts))]
    for name, parts in blobs.items():
        for index, part in enumerate(parts):
            assert read[f"{name}.{index}"].dtype == np.float32
            np.testing.assert_array_equal(read[f"{name}.{index}"], part)
    assert facts["bn_conv1"].eps == np.float32(1e-3)
    assert facts["conv1"].stride == facts["res3a_branch2a"].stride == 2
    assert facts["fc1000"].stride is facts["fc1000"].eps is None
    assert "data" not in facts  # a layer without weights


def test_the_old_layer_list_with_four_axes_is_read(blobs, tmp_path):
    read, facts = read_caffemodel(written(tmp_path, v1_caffemodel_bytes(blobs)))
    assert read["fc1000.0"].shape == (1, 1, 5, 2) and read["fc1000.1"].shape == (1, 1, 1, 5)
    np.testing.assert_array_equal(read["conv1.0"], blobs["conv1"][0])
    np.testing.assert_array_equal(read["fc1000.0"][0, 0], blobs["fc1000"][0])
    assert facts["conv1"].stride is None


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_gives_one_message(share, blobs, tmp_path):
    data = caffemodel_bytes(blobs)
    path = written(tmp_path, data[: int(share * len(data))])
    with pytest.raises(ArtifactError, match=rf"net\.caffemodel \({int(share * len(data))} bytes\) is truncated or not"):
        read_caffemodel(path)


def test_garbage_gives_one_message(blobs, tmp_path):
    rng = np.random.default_rng(1)
    whole = caffemodel_bytes(blobs)
    for length in (0, 1, 7, 100, 5000):
        with pytest.raises(ArtifactError, match=r"net\.caffemodel"):
            read_caffemodel(written(tmp_path, rng.bytes(length)))
    refused = 0
    for _ in range(200):  # a flipped byte is either a number that changed or one message, never another exception
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] ^= int(rng.integers(1, 256))
        try:
            read_caffemodel(written(tmp_path, bytes(broken)))
        except ArtifactError as error:
            assert "net.caffemodel" in str(error)
            refused += 1
    assert refused > 0


def test_files_that_can_not_be_are_refused(blobs, tmp_path):
    with pytest.raises(ArtifactError, match="holds 1 layers and no weights"):
        read_caffemodel(written(tmp_path, caffemodel_bytes({})))
    net = _messages()["NetParameter"]()
    blob = net.layer.add(name="conv1", type="Convolution").blobs.add()
    blob.shape.dim.extend((2, 3))
    blob.data.extend(range(5))
    with pytest.raises(ArtifactError, match=r"blob 0 of layer 'conv1' has shape \[2, 3\] and 5 values"):
        read_caffemodel(written(tmp_path, net.SerializeToString()))
    blob.data.append(5)
    net.layer.add(name="conv1", type="Convolution").blobs.add().CopyFrom(blob)
    with pytest.raises(ArtifactError, match="two layers are named 'conv1'"):
        read_caffemodel(written(tmp_path, net.SerializeToString()))
    blob.shape.dim[0] = 2**62  # 2^62 * 3 * 4 bytes is 0 modulo 2^64 / 4: must not wrap
    with pytest.raises(ArtifactError, match="6 values"):
        read_caffemodel(written(tmp_path, net.SerializeToString()))


def test_a_mean_image_is_read_from_both_forms(tmp_path):
    image = np.random.default_rng(0).uniform(80, 140, (3, 6, 5)).astype(np.float32)
    blob = _messages()["BlobProto"](num=1, channels=3, height=6, width=5)
    blob.data.extend(image.ravel())
    np.testing.assert_array_equal(read_mean_image(written(tmp_path, blob.SerializeToString(), "m.binaryproto")), image)
    np.save(tmp_path / "m.npy", image)
    np.testing.assert_array_equal(read_mean_image(tmp_path / "m.npy"), image)
    np.save(tmp_path / "m.npy", image / 255)
    with pytest.raises(ArtifactError, match=r"values from 0\.3\d+ to 0\.5\d+, expected pixel values"):
        read_mean_image(tmp_path / "m.npy")
    np.save(tmp_path / "m.npy", image[:2])
    with pytest.raises(ArtifactError, match=r"shape \[2, 6, 5\]"):
        read_mean_image(tmp_path / "m.npy")
    written(tmp_path, blob.SerializeToString()[:50], "m.binaryproto")
    with pytest.raises(ArtifactError, match=r"m\.binaryproto \(50 bytes\) is truncated"):
        read_mean_image(tmp_path / "m.binaryproto")
    with pytest.raises(ArtifactError, match=r"none\.npy: no such file"):
        read_mean_image(tmp_path / "none.npy")
