import json
import os

import numpy as np
import pytest

from resnet_deploy.core.errors import DataError
from resnet_deploy.data import index_cache, shards
from resnet_deploy.data.shard_names import expand_shards, is_shard_pattern, shards_of_split
from resnet_deploy.data.source import open_images
from tests.data.conftest import encoded, write_tar


def shard(path, first, count, label="cls"):
    """Samples first .. first + count - 1; pixel value = its number, label = number % 4."""
    members = {}
    for number in range(first, first + count):
        members[f"{number:06d}.png"] = encoded(number)
        if label == "cls":
            members[f"{number:06d}.cls"] = str(number % 4).encode()
        if label == "json":
            members[f"{number:06d}.json"] = json.dumps({"label": number % 4, "caption": "x"}).encode()
        members[f"{number:06d}.txt"] = b"a caption"
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_tar(path, members)


@pytest.fixture
def train(tmp_path):
    for i in range(6):
        shard(tmp_path / f"set-train-{i:06d}.tar", 5 * i, 5, label="json" if i == 3 else "cls")
    return tmp_path


def test_samples_across_shards(train):
    source = open_images(f"{train}/set-train-{{000000..000005}}.tar")
    assert len(source) == 30 and source.classes == ("0", "1", "2", "3")
    assert source.labels.tolist() == [i % 4 for i in range(30)]
    assert [int(source.image(i)[0, 0, 0]) for i in (29, 0, 14, 5)] == [29, 0, 14, 5]
    assert source.name(14).endswith("set-train-000002.tar:000014.png")


def test_a_folder_of_shards_is_split_by_file_name(train):
    shard(train / "set-validation-000000.tar", 100, 3)
    assert len(open_images(str(train), split="train")) == 30
    assert open_images(str(train), split="val").image(0)[0, 0, 0] == 100
    with pytest.raises(DataError, match="holds the splits train, validation"):
        open_images(str(train))
    both = f"{train}/set-{{train,validation}}-000000.tar"
    assert len(open_images(both, split="train")) == 5 and len(open_images(both, split="test")) == 3


def test_a_folder_per_split_and_a_single_shard(tmp_path):
    shard(tmp_path / "train" / "a.tar", 0, 4)
    shard(tmp_path / "val" / "a.tar", 50, 2)
    assert len(open_images(str(tmp_path), split="train")) == 4
    assert len(open_images(str(tmp_path / "val" / "a.tar"), split="train")) == 2


def test_shards_on_two_mounts(tmp_path):
    shard(tmp_path / "m1" / "x-00.tar", 0, 2)
    shard(tmp_path / "m2" / "x-01.tar", 2, 2)
    for pattern in (
        f"{tmp_path}/m1/x-00.tar::{tmp_path}/m2/x-01.tar",
        f"{tmp_path}/m[12]/*.tar",
        f"{tmp_path}/{{m1/x-00,m2/x-01}}.tar",
    ):
        source = open_images(pattern)
        assert [int(source.image(i)[0, 0, 0]) for i in range(4)] == [0, 1, 2, 3]


def test_braces_expand_as_a_shell_does():
    assert is_shard_pattern("a-{0..3}.tar") and not is_shard_pattern("digits")
    with pytest.raises(DataError, match=r"104 of 104 shards are missing, the first is /none/a-098-x\.tar"):
        expand_shards("/none/a-{098..149}-{x,y}.tar")
    with pytest.raises(DataError, match="no file matches"):
        expand_shards("/none/*.tar")


def test_an_existing_path_is_no_pattern(tmp_path):
    folder = tmp_path / "a{1..2}[x]"
    folder.mkdir()
    assert not is_shard_pattern(str(folder))


def test_split_words_stand_alone(tmp_path):
    paths = [tmp_path / name for name in ("training-0.tar", "constrain-1.tar")]
    assert shards_of_split(paths, "val", where="x") == paths  # no whole word names a split


def test_classes_txt_names_the_classes(train):
    (train / "classes.txt").write_text("ant\nbee\ncow\ndog\neel\n")
    assert open_images(str(train), split="train").classes == ("ant", "bee", "cow", "dog", "eel")
    (train / "classes.txt").write_text("ant\nbee\n")
    with pytest.raises(DataError, match=r"classes\.txt names 2 classes, the highest label of the shards is 3"):
        open_images(str(train), split="train")


def test_without_labels(tmp_path):
    write_tar(tmp_path / "a.tar", {"0.png": encoded(1), "0.json": b"{}", "1.png": encoded(2), "1.json": b"{}"})
    source = open_images(str(tmp_path / "a.tar"))
    assert source.classes == () and source.labels.tolist() == [-1, -1]


@pytest.mark.parametrize(
    "members, message",
    [
        ({"0.png": b"", "0.cls": b"1", "1.png": b""}, r"a\.tar: 1\.png has no \.cls .* 1 of 2 images"),
        ({"0.png": b"", "0.cls": b"dog"}, r"0\.cls: b'dog' is no label"),
        ({"0.png": b"", "0.cls": b"-3"}, r"0\.cls: the label is -3"),
        ({"0.png": b"", "0.json": b'{"label": 1.5}'}, r"0\.json: the label is 1\.5"),
        ({"0.png": b"", "0.json": b"[1"}, r"0\.json: .* is no label"),
        ({"0.png": b"", "0.jpg": b"", "0.cls": b"1"}, r"sample /?0 holds two images, 0\.png and 0\.jpg"),
        ({"../0.png": b"", "../0.cls": b"1"}, r"member '\.\./0\.png' points outside the archive"),
    ],
)
def test_what_is_no_sample_is_named(tmp_path, members, message):
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=message):
        open_images(str(tmp_path / "a.tar"))


def test_a_label_error_comes_through_the_workers(train):
    write_tar(train / "set-train-000004.tar", {"0.png": encoded(1), "0.cls": b"dog"})
    with pytest.raises(DataError, match=r"000004\.tar:0\.cls: b'dog' is no label"):
        open_images(str(train), split="train")


def test_a_corrupt_image_and_a_vanished_shard_are_named(train):
    write_tar(train / "set-train-000000.tar", {"7.jpg": b"no image", "7.cls": b"0"})
    source = open_images(str(train), split="train")
    with pytest.raises(DataError, match=r"set-train-000000\.tar:7\.jpg: can not be decoded"):
        source.image(0)
    (train / "set-train-000005.tar").unlink()
    with pytest.raises(DataError, match=r"000005\.tar:000029\.png: can not be read \(No such file"):
        source.image(len(source) - 1)


def test_tars_of_a_class_each_are_no_shards(tmp_path):
    """The original ImageNet training archive holds such."""
    write_tar(tmp_path / "n01440764.tar", {"n01440764_1.JPEG": encoded(1, "JPEG")})
    with pytest.raises(DataError, match="holds no image"):
        open_images(str(tmp_path))


class TestIndexIsKept:
    @pytest.fixture(autouse=True)
    def worth_keeping(self, monkeypatch):
        monkeypatch.setattr(index_cache, "_WORTH_S", -1)

    def test_and_used_until_a_shard_changes(self, train, monkeypatch):
        first = open_images(str(train), split="train")
        with monkeypatch.context() as patch:
            patch.setattr(shards, "_index", lambda paths: pytest.fail("built again"))
            again = open_images(str(train), split="train")
        assert again.fingerprint() == first.fingerprint() and np.array_equal(again.image(7), first.image(7))
        shard(train / "set-train-000005.tar", 25, 9)
        changed = open_images(str(train), split="train")
        assert len(changed) == 34 and changed.fingerprint() != first.fingerprint()

    def test_a_damaged_one_is_made_anew(self, train, own_index_cache):
        open_images(str(train), split="train")
        (kept,) = own_index_cache.glob("shards-*.npz")
        kept.write_bytes(kept.read_bytes()[:200])
        assert len(open_images(str(train), split="train")) == 30

    def test_a_folder_that_can_not_be_written_is_no_obstacle(self, train, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setattr(index_cache, "_folder", lambda: tmp_path / "file" / "below")
        assert len(open_images(str(train), split="train")) == 30
        assert not [name for name in os.listdir(train) if name.endswith(".npz")]
