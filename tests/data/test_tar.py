import io
import tarfile

import numpy as np
import pytest

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.source import open_images
from tests.data.conftest import encoded, write_tar


@pytest.mark.parametrize("prefix", ["", "imagenet/", "./"])
def test_splits_inside_one_tar(tmp_path, prefix):
    members = {
        f"{prefix}val/dog/b.png": encoded(9),
        f"{prefix}train/dog/0.png": encoded(1),
        f"{prefix}train/cat/1.png": encoded(2),
        f"{prefix}README.txt": b"text",
    }
    archive = write_tar(tmp_path / "all.tar", members)
    train, val = open_images(str(archive), split="train"), open_images(str(archive), split="test")
    assert train.classes == ("cat", "dog") and train.labels.tolist() == [0, 1]
    assert [int(train.image(i)[0, 0, 0]) for i in range(2)] == [2, 1]
    assert len(val) == 1 and val.image(0)[0, 0, 0] == 9 and val.description.endswith("all.tar:val")
    assert train.fingerprint() != val.fingerprint()
    with pytest.raises(DataError, match="holds the splits train, val"):
        open_images(str(archive))


def test_class_folders_with_such_names_are_no_splits(tmp_path):
    members = {"train/0.png": encoded(0), "plane/1.png": encoded(1)}
    source = open_images(str(write_tar(tmp_path / "vehicles.tar", members)), split="val")
    assert source.classes == ("plane", "train")


@pytest.mark.parametrize("keep", [512 + 100, 512 + 1024 + 100, 512 + 1024 + 512 + 300])
def test_an_archive_that_is_cut_off_is_not_taken_for_a_smaller_one(tmp_path, keep):
    data = bytes(700)
    archive = write_tar(tmp_path / "a.tar", {f"cat/{i}.png": data for i in range(3)})
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.tar is cut off"):
        open_images(str(archive))


def test_cut_off_between_two_members(tmp_path):
    """Where tarfile sees a whole archive: only the end mark is missing."""
    archive = write_tar(tmp_path / "a.tar", {f"cat/{i}.png": bytes(700) for i in range(3)})
    archive.write_bytes(archive.read_bytes()[: 2 * (512 + 1024)])
    with tarfile.open(archive) as plain:
        assert len(plain.getmembers()) == 2
    with pytest.raises(DataError, match=r"a\.tar is cut off \(it has no end mark\)"):
        open_images(str(archive))


def test_cut_off_while_open(tmp_path):
    archive = write_tar(tmp_path / "a.tar", {f"cat/{i}.png": encoded(i) for i in range(3)})
    source = open_images(str(archive))
    with open(archive, "rb+") as file:
        file.truncate(1024 + 512 + 20)
    with pytest.raises(DataError, match=r"a\.tar is cut off inside cat/1\.png"):
        source.image(1)
    assert source.image(0)[0, 0, 0] == 0


@pytest.mark.parametrize("name", ["../../etc/cat/0.png", "/etc/cat/0.png", "cat/../../0.png"])
def test_names_that_point_outside_are_refused(tmp_path, name):
    archive = write_tar(tmp_path / "a.tar", {name: encoded(0)})
    with pytest.raises(DataError, match="points outside the archive"):
        open_images(str(archive))


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_an_image_that_is_a_link_is_not_left_out_silently(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("cat/0.png")
        info.size = len(encoded(0))
        archive.addfile(info, io.BytesIO(encoded(0)))
        link = tarfile.TarInfo("cat/1.png")
        link.type, link.linkname = kind, "cat/0.png"
        archive.addfile(link)
    with pytest.raises(DataError, match=r"cat/1\.png is a link"):
        open_images(str(tmp_path / "a.tar"))


def test_a_compressed_archive_says_what_to_do(tmp_path):
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataError, match="is not an uncompressed .tar") as caught:
        open_images(str(tmp_path / "cifar-10-binary.tar.gz"))
    assert caught.value.remedy.startswith("unpack it")


def test_long_and_odd_names_survive(tmp_path):
    names = [f"cat/{'x' * 150}.png", "dog/Ümläut ☃.png", "dog/a b.png"]
    source = open_images(str(write_tar(tmp_path / "a.tar", {n: encoded(i) for i, n in enumerate(names)})))
    assert [source.name(i).split(":")[1] for i in range(3)] == sorted(names)
    assert {int(source.image(i)[0, 0, 0]) for i in range(3)} == {0, 1, 2}


def test_headers_are_not_kept(tmp_path, monkeypatch):
    """tarfile keeps a kilobyte per member, fifty megabytes for CIFAR, if one lets it."""
    from resnet_deploy.data.tar_members import tar_members

    archive = write_tar(tmp_path / "a.tar", {f"cat/{i}.png": b"" for i in range(50)})
    opened = []
    plain_open = tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda *a, **k: opened.append(plain_open(*a, **k)) or opened[-1])
    assert len([m for m in tar_members(archive) if len(opened[0].members) == 0]) == 50


def test_the_order_is_that_of_the_names(tmp_path):
    order = np.random.default_rng(0).permutation(40)
    source = open_images(str(write_tar(tmp_path / "a.tar", {f"c/{i:02d}.png": encoded(int(i)) for i in order})))
    assert [int(source.image(i)[0, 0, 0]) for i in range(40)] == list(range(40))
