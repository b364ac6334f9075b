import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.source import open_images, stratified_sample


def png(path, value, size=(5, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 0, 0)).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    for name, count in (("dog", 3), ("cat", 2)):
        for i in range(count):
            png(root / "train" / name / f"{i}.png", 10 * i)
    png(root / "val" / "cat" / "a.png", 77)
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "train" / "cat" / ".hidden.png").write_bytes(b"")
    return root


def pack(folder, archive):
    with tarfile.open(archive, "w") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, arcname=path.relative_to(folder), recursive=False)


def test_classes_are_folders_in_sorted_order(folder):
    source = open_images(str(folder), split="train")
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 1, 1, 1]
    assert source.image(1).shape == (4, 5, 3) and source.image(1)[0, 0, 0] == 10


def test_a_tar_holds_the_same_as_its_folder(folder, tmp_path):
    pack(folder / "train", tmp_path / "train.tar")
    plain, packed = open_images(str(folder), split="train"), open_images(str(tmp_path / "train.tar"))
    assert packed.classes == plain.classes and packed.labels.tolist() == plain.labels.tolist()
    for i in range(len(plain)):
        assert np.array_equal(packed.image(i), plain.image(i))
    assert open_images(str(tmp_path), split="train").description.endswith("train.tar")


def test_val_stands_for_test_where_only_one_exists(folder):
    assert len(open_images(str(folder), split="test")) == 1
    with pytest.raises(DataError, match=r"holds the splits train, val"):
        open_images(str(folder))
    with pytest.raises(DataError, match="has no split 'other'"):
        open_images(str(folder), split="other")


def test_a_flat_folder_has_no_labels(tmp_path):
    png(tmp_path / "a.png", 1)
    source = open_images(str(tmp_path), split="train")
    assert source.classes == () and source.labels.tolist() == [-1]


def test_missing_empty_and_stray(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        open_images(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="holds no image"):
        open_images(str(tmp_path))
    png(tmp_path / "cat" / "a.png", 1)
    png(tmp_path / "b.png", 1)
    with pytest.raises(DataError, match=r"b\.png lies beside the class folders"):
        open_images(str(tmp_path))
    (tmp_path / "x.tar").write_bytes(b"not a tar")
    with pytest.raises(DataError, match=r"x\.tar is not an uncompressed \.tar"):
        open_images(str(tmp_path / "x.tar"))


@pytest.mark.parametrize("damage", [b"", b"no image at all", "truncate"])
def test_an_image_that_is_none_is_named(tmp_path, damage):
    path = tmp_path / "cat" / "a.jpg"
    path.parent.mkdir()
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "JPEG")
    path.write_bytes(stream.getvalue()[:300] if damage == "truncate" else damage)
    with pytest.raises(DataError, match=r"cat/a\.jpg: can not be decoded"):
        open_images(str(tmp_path)).image(0)


def test_grayscale_becomes_three_equal_channels(tmp_path):
    Image.effect_noise((6, 6), 50).save(tmp_path / "g.png")
    image = open_images(str(tmp_path)).image(0)
    assert image.shape == (6, 6, 3) and np.array_equal(image[..., 0], image[..., 2])


def test_a_fingerprint_changes_with_the_set(folder):
    before = open_images(str(folder), split="train").fingerprint()
    assert open_images(str(folder), split="train").fingerprint() == before
    png(folder / "train" / "cat" / "9.png", 1)
    assert open_images(str(folder), split="train").fingerprint() != before


def test_digits_hold_out_a_stratified_third():
    train, held_out = open_images("digits", split="train"), open_images("digits", split="val")
    assert (len(train), len(held_out)) == (1198, 599)
    assert not set(train.indices) & set(held_out.indices)
    shares = np.bincount(held_out.labels) / np.bincount(np.concatenate([train.labels, held_out.labels]))
    assert shares.min() > 0.32 and shares.max() < 0.345  # a third of each class, to one image of about 180
    assert train.image(0).shape == (8, 8, 3) and train.image(0).max() > 200


def test_a_stratified_sample_is_even_distinct_and_repeatable():
    source = open_images("digits", split="train")
    sample = stratified_sample(source, 100, seed=5)
    assert np.bincount(sample.labels).tolist() == [10] * 10
    assert len(set(sample.indices)) == 100
    assert np.array_equal(sample.indices, stratified_sample(source, 100, seed=5).indices)
    assert not np.array_equal(sample.indices, stratified_sample(source, 100, seed=6).indices)
    assert len(stratified_sample(source, 10**6, seed=0)) == len(source)
    assert sample.name(0) == source.name(int(sample.indices[0]))
    with pytest.raises(DataError, match="0 images asked for"):
        stratified_sample(source, 0, seed=0)


def test_linked_class_folders_are_followed_and_loops_end(folder, tmp_path):
    chosen = tmp_path / "two-of-them"
    chosen.mkdir()
    (chosen / "kitten").symlink_to(folder / "train" / "cat")
    (chosen / "kitten" / "loop").symlink_to(chosen / "kitten")
    source = open_images(str(chosen))
    assert source.classes == ("kitten",) and len(source) == 2


def test_a_file_that_can_not_be_read_is_named_when_it_is_needed(folder):
    (folder / "train" / "dog" / "9.png").symlink_to("nowhere.png")
    source = open_images(str(folder), split="train")
    assert len(source) == 6 and source.fingerprint()
    with pytest.raises(DataError, match=r"dog/9\.png: can not be read \(No such file"):
        source.image(5)


def test_images_are_sorted_part_by_part(tmp_path):
    """ "a b" stands after "a" though a blank stands before a slash: the order of paths, not of strings."""
    for name in ("a b/1.png", "a/2.png", "a/10.png", "B/3.png"):
        png(tmp_path / name, 1)
    source = open_images(str(tmp_path))
    assert [source.name(i).removeprefix(f"{tmp_path}/") for i in range(4)] == [
        "B/3.png",
        "a/10.png",
        "a/2.png",
        "a b/1.png",
    ]
    assert source.labels.tolist() == [0, 1, 1, 2]
