import numpy as np
import pytest

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.source import open_images

NAMES_10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def records(count, label_bytes, num_classes, seed):
    """[count, label_bytes + 3072] uint8 of random pixels; the last label byte is i % num_classes."""
    rows = np.random.default_rng(seed).integers(0, 256, (count, label_bytes + 3072), dtype=np.uint8)
    rows[:, label_bytes - 1] = np.arange(count) % num_classes
    return rows


@pytest.fixture
def cifar10(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i in range(1, 6):
        records(20 + i, 1, 10, i).tofile(folder / f"data_batch_{i}.bin")
    records(30, 1, 10, 9).tofile(folder / "test_batch.bin")
    (folder / "batches.meta.txt").write_text("\n".join(NAMES_10) + "\n\n")
    return folder


@pytest.fixture
def cifar100(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    records(200, 2, 100, 0).tofile(folder / "train.bin")
    records(100, 2, 100, 1).tofile(folder / "test.bin")
    (folder / "fine_label_names.txt").write_text("\n".join(f"fine{i}" for i in range(100)))
    return folder


def test_cifar10_across_its_five_files(cifar10):
    source = open_images(str(cifar10), split="train")
    assert len(source) == 21 + 22 + 23 + 24 + 25 and source.classes == tuple(NAMES_10)
    assert source.description == "cifar-10-batches-bin/train"
    place = 0
    for i in range(1, 6):
        rows = records(20 + i, 1, 10, i)
        assert np.array_equal(source.labels[place : place + len(rows)], rows[:, 0])
        for record in (0, len(rows) - 1):
            planes = rows[record, 1:].reshape(3, 32, 32)
            image = source.image(place + record)
            assert image.shape == (32, 32, 3)
            assert np.array_equal(image[5, 17], planes[:, 5, 17]) and np.array_equal(image[..., 2], planes[2])
            assert source.name(place + record).endswith(f"data_batch_{i}.bin[{record}]")
        place += len(rows)


def test_cifar100_takes_the_fine_label(cifar100):
    source = open_images(str(cifar100), split="test")
    assert source.labels.tolist() == list(range(100)) and source.classes[99] == "fine99"
    assert np.array_equal(source.image(3)[..., 0], records(100, 2, 100, 1)[3, 2:1026].reshape(32, 32))


def test_splits_and_the_folder_above(cifar10):
    assert len(open_images(str(cifar10.parent), split="val")) == 30
    with pytest.raises(DataError, match="holds the splits test, train"):
        open_images(str(cifar10))


def test_both_sets_in_one_folder_are_not_guessed(cifar10, cifar100):
    with pytest.raises(DataError, match="holds cifar-10-batches-bin and cifar-100-binary"):
        open_images(str(cifar10.parent), split="train")


def test_without_names_the_classes_are_numbers(cifar10):
    (cifar10 / "batches.meta.txt").unlink()
    assert open_images(str(cifar10), split="test").classes == tuple("0123456789")


@pytest.mark.parametrize(
    "damage, message",
    [
        ("cut", r"data_batch_3\.bin has 60000 bytes, which is no whole number of CIFAR-10's records of 3073"),
        ("empty", r"data_batch_3\.bin has 0 bytes"),
        ("missing", r"data_batch_3\.bin is missing"),
        ("label", r"data_batch_3\.bin: record 4 has label 200, CIFAR-10 has 10 classes"),
        ("names", r"batches\.meta\.txt holds 1 names, CIFAR-10 has 10 classes"),
    ],
)
def test_damage_is_named(cifar10, damage, message):
    file = cifar10 / "data_batch_3.bin"
    data = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(data[:60000])
    if damage == "empty":
        file.write_bytes(b"")
    if damage == "missing":
        file.unlink()
    if damage == "label":
        data[4 * 3073] = 200
        file.write_bytes(data)
    if damage == "names":
        (cifar10 / "batches.meta.txt").write_text("airplane\n")
    with pytest.raises(DataError, match=message):
        open_images(str(cifar10), split="train")


def test_a_file_cut_off_while_open_is_named(cifar10):
    source = open_images(str(cifar10), split="test")
    with open(cifar10 / "test_batch.bin", "rb+") as file:
        file.truncate(3073 * 10 + 5)
    with pytest.raises(DataError, match=r"test_batch\.bin is cut off in record 10"):
        source.image(10)
    source.image(9)


def test_pickles_are_refused(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"\x80")
    for given in (folder, tmp_path):
        with pytest.raises(DataError, match="is the Python version of CIFAR; its files are pickles"):
            open_images(str(given), split="train")


def test_the_fingerprint_is_of_the_contents(cifar10):
    before = open_images(str(cifar10), split="test").fingerprint()
    file = cifar10 / "test_batch.bin"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert open_images(str(cifar10), split="test").fingerprint() != before
