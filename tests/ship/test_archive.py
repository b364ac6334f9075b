"""Archives are the same every time, and are unpacked whole or not at all."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tracemalloc

import pytest

from resnet_deploy.core.errors import ArtifactError, ConfigError, ResnetDeployError
from resnet_deploy.ship.archive import unpack, write_archive
from resnet_deploy.ship.checks import is_whole
from tests.ship.archive_mutations import mutate_archive


def test_the_same_bundle_gives_the_same_bytes(sound, tmp_path):
    copy = shutil.copytree(sound, tmp_path / "copy.bundle", copy_function=shutil.copy)
    one, two = (write_archive(folder, tmp_path / f"{folder.name}.tar.gz") for folder in (sound, copy))
    assert one.read_bytes() == two.read_bytes()


def test_other_programs_read_it(sound, tmp_path):
    archive = write_archive(sound, tmp_path / "a.tar.gz")
    with tarfile.open(archive) as members:
        names = members.getnames()
        assert {(entry.uid, entry.gid, entry.mtime, entry.mode) for entry in members} == {(0, 0, 0, 0o644)}
    assert names[0] == "small.bundle/bundle.json" and names[1:] == sorted(names[1:])


def test_an_archive_of_gnu_tar_with_folders_is_read(sound, tmp_path):
    """As long as the manifest is its first file."""
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz", format=tarfile.GNU_FORMAT) as members:
        members.add(sound, "s.bundle", recursive=False)
        for path in [sound / "bundle.json", *sorted(set(sound.rglob("*")) - {sound / "bundle.json"})]:
            members.add(path, f"s.bundle/{path.relative_to(sound)}", recursive=False)
    unpack(archive, tmp_path / "out.bundle")
    assert is_whole(tmp_path / "out.bundle")


def test_what_is_there_is_kept(sound, tmp_path):
    archive = write_archive(sound, tmp_path / "a.tar.gz")
    out = tmp_path / "out.bundle"
    unpack(archive, out)
    with pytest.raises(ConfigError, match="out.bundle is there already"):
        unpack(archive, out)
    (out / "bundle.json").write_text("{}")
    unpack(archive, out, replace=True)
    assert is_whole(out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years")
    with pytest.raises(ConfigError, match="other is there and is no bundle"):
        unpack(archive, other, replace=True)
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="was cut off"):
        unpack(archive, out, replace=True)
    assert is_whole(out)


def test_a_link_in_place_of_the_target_is_not_followed(sound, tmp_path):
    archive = write_archive(sound, tmp_path / "a.tar.gz")
    (tmp_path / "real").mkdir()
    (tmp_path / "out.bundle").symlink_to("real")
    with pytest.raises(ConfigError, match="is a link, which is left alone"):
        unpack(archive, tmp_path / "out.bundle", replace=True)
    assert not list((tmp_path / "real").iterdir())


def test_a_bomb_takes_little_memory(sound, tmp_path):
    """200 MB of zeros where the manifest has a small file."""
    archive = tmp_path / "bomb.tar.gz"
    mutate_archive(sound, archive, 12)
    assert archive.stat().st_size < 2**20
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError):
            unpack(archive, tmp_path / "out.bundle")
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_a_manifest_for_more_than_the_disk_holds_is_refused(sound, tmp_path, monkeypatch):
    archive = write_archive(sound, tmp_path / "a.tar.gz")
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(ResnetDeployError, match="the disk has 5 left") as caught:
        unpack(archive, tmp_path / "out.bundle")
    assert caught.value.exit_code == 4  # as of every full disk


def test_no_archive_at_all(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere.tar.gz: no such file"):
        unpack(tmp_path / "nowhere.tar.gz", tmp_path / "out.bundle")
    (tmp_path / "empty.tar.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(ArtifactError, match="it was cut off"):
        unpack(tmp_path / "empty.tar.gz", tmp_path / "out.bundle")
