from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.engine.runners import runtime_cache
from resnet_deploy.engine.runners.runtime_cache import CacheKey, read_runtime_cache, write_runtime_cache

KEY = CacheKey(engine_sha256="ab" * 32, gpu="RTX 9090", product_version="1.7.1")
BLOB = bytes(range(256)) + b"\n\n{}"


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_cache, "_IN_PROCESS", {})


@pytest.fixture
def written(tmp_path: Path) -> Path:
    file = tmp_path / "folder" / "net.kernels"
    write_runtime_cache(file, KEY, BLOB)
    return file


def test_a_cache_comes_back_byte_for_byte(written: Path) -> None:
    assert read_runtime_cache(written, KEY) == (BLOB, "")
    assert [path.name for path in written.parent.iterdir()] == ["net.kernels"]


def test_a_process_remembers_without_a_file() -> None:
    assert read_runtime_cache(None, KEY) == (None, "")
    write_runtime_cache(None, KEY, BLOB)
    assert read_runtime_cache(None, KEY) == (BLOB, "")
    assert read_runtime_cache(None, replace(KEY, gpu="another")) == (None, "")


def test_with_a_file_the_file_alone_counts(tmp_path: Path) -> None:
    write_runtime_cache(None, KEY, BLOB)
    assert read_runtime_cache(tmp_path / "new", KEY) == (None, "")
    write_runtime_cache(tmp_path / "new", KEY, b"newer")
    assert read_runtime_cache(None, KEY) == (BLOB, "")


def test_a_cache_that_is_not_there_yet_is_no_reason_to_speak(tmp_path: Path) -> None:
    assert read_runtime_cache(tmp_path / "new", KEY) == (None, "")


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("engine_sha256", "another engine sha256"),
        ("gpu", "another gpu"),
        ("product_version", "another product version"),
    ],
)
def test_a_cache_of_something_else_is_ignored_with_the_reason(written: Path, field: str, says: str) -> None:
    blob, note = read_runtime_cache(written, replace(KEY, **{field: "other"}))
    assert blob is None and says in note and "will be replaced" in note


@pytest.mark.parametrize("at", range(0, 560, 7))
def test_one_changed_byte_anywhere_is_noticed(written: Path, at: int) -> None:
    data = bytearray(written.read_bytes())
    at %= len(data)
    data[at] ^= 0x11
    written.write_bytes(data)
    blob, note = read_runtime_cache(written, KEY)
    assert blob is None and "will be replaced" in note


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n", b"resnet-deploy runtime cache 1", b"resnet-deploy runtime cache 1\n[1]\nx"]
)
def test_what_is_no_cache_is_ignored(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    blob, note = read_runtime_cache(file, KEY)
    assert blob is None and str(file) in note


def test_a_cut_off_cache_is_ignored(written: Path) -> None:
    written.write_bytes(written.read_bytes()[:-1])
    assert "damaged" in read_runtime_cache(written, KEY)[1]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is a folder"):
        read_runtime_cache(tmp_path, KEY)
