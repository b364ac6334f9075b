from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from resnet_deploy.core.artifacts import manifest_path, read_manifest, write_manifest
from resnet_deploy.engine.preflight.check import State
from resnet_deploy.engine.preflight.integrity import check_header, check_manifest, check_weights_file


def made(
    folder: Path,
    name: str = "net.engine",
    *,
    mask: int = 0x0C,
    patch: int = 1,
    body: bytes = bytes(100),
    **more: object,
) -> Path:
    """A file with the header of a TensorRT-RTX engine, and its manifest."""
    head = bytearray(64)
    head[0:4] = b"vtrt"
    struct.pack_into("<Q", head, 16, 64 + len(body))
    head[24:28] = bytes((1, 7, patch, 116))
    struct.pack_into("<I", head, 32, mask)
    file = folder / name
    file.write_bytes(bytes(head) + body)
    details = {"product": "tensorrt-rtx", "product_version": f"1.7.{patch}.116", "target_mask": mask}
    write_manifest(file, kind="engine", stage="build", details=details, **more)
    return file


def asked(file: Path):
    manifest, check = check_manifest(file, check_header(file)[0])
    assert (manifest is None) or check.state is not State.MISFIT
    return check


def test_a_file_with_its_own_manifest_is_good(tmp_path: Path) -> None:
    file = made(tmp_path)
    header, whole = check_header(file)
    manifest, belongs = check_manifest(file, header)
    assert (whole.state, belongs.state) == (State.GOOD, State.GOOD)
    assert "tensorrt-rtx 1.7.1.116, target mask 0xc; 164 bytes" in whole.text
    assert manifest == read_manifest(file)


def test_a_file_without_a_manifest_is_not_checked(tmp_path: Path) -> None:
    file = made(tmp_path)
    manifest_path(file).unlink()
    assert asked(file).state is State.NOT_CHECKED


def test_a_renamed_pair_is_good_and_says_its_old_name(tmp_path: Path) -> None:
    file = made(tmp_path)
    file.rename(tmp_path / "b.engine")
    manifest_path(file).rename(tmp_path / "b.engine.json")
    check = asked(tmp_path / "b.engine")
    assert check.state is State.GOOD and "was net.engine" in check.text


@pytest.mark.parametrize("position", [64, 100, 163])
def test_one_flipped_bit_is_damage(tmp_path: Path, position: int) -> None:
    file = made(tmp_path)
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)
    check = asked(file)
    assert check.state is State.DAMAGED and "same length" in check.text


def test_a_length_that_differs_is_told_either_way(tmp_path: Path) -> None:
    file = made(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:120])
    assert asked(file).text == "the file was cut off: 120 of 164 bytes"
    assert check_header(file)[1].state is State.DAMAGED
    file.write_bytes(whole + b"\0\0")
    assert asked(file).text == "the file has 2 bytes more than when it was made"


def test_an_engine_of_tensorrt_is_cut_off_where_its_manifest_says_so(tmp_path: Path) -> None:
    file = made(tmp_path)
    file.write_bytes(b"ftrt" + file.read_bytes()[4:])
    write_manifest(file, kind="engine", stage="build")
    file.write_bytes(file.read_bytes()[:-1])
    assert check_header(file)[1].state is State.GOOD  # its header tells no length
    assert asked(file).state is State.DAMAGED


def swapped(folder: Path, name: str, **changes: object) -> Path:
    """net.engine with the manifest of another engine, which is not here any more."""
    file = made(folder)
    other = made(folder, name, **changes)
    manifest_path(other).replace(manifest_path(file))
    other.unlink()
    return file


def test_a_manifest_that_names_another_file_belongs_to_that(tmp_path: Path) -> None:
    check = asked(swapped(tmp_path, "other.engine", body=b"x" * 100))
    assert check.state is State.MISFIT and "written for other.engine" in check.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mask": 0x02}, "its target mask is 0x2, the engine's is 0xc"),
        ({"patch": 0}, "its product version is 1.7.0.116, the engine's is 1.7.1.116"),
    ],
)
def test_a_manifest_of_a_namesake_is_told_by_what_the_header_says(
    tmp_path: Path, changes: dict[str, int], says: str
) -> None:
    (tmp_path / "sm80").mkdir()
    file = made(tmp_path)
    other = made(tmp_path / "sm80", **changes)
    manifest_path(other).replace(manifest_path(file))
    check = asked(file)
    assert check.state is State.MISFIT and says in check.text


def test_a_whole_copy_beside_it_is_pointed_at(tmp_path: Path) -> None:
    file = made(tmp_path)
    (tmp_path / "copy.engine").write_bytes(file.read_bytes())
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    check = asked(file)
    assert check.state is State.DAMAGED and check.text.endswith("; copy.engine beside it has those bytes")
    file.rename(tmp_path / "third.engine")
    manifest_path(file).rename(tmp_path / "third.engine.json")
    check = asked(tmp_path / "third.engine")
    assert check.state is State.MISFIT
    assert check.text.endswith("it was written for net.engine; copy.engine beside it has those bytes")


def test_a_manifest_of_another_kind_belongs_to_another_file(tmp_path: Path) -> None:
    file = made(tmp_path)
    source = tmp_path / "sub" / file.name
    source.parent.mkdir()
    source.write_bytes(b"graph")
    write_manifest(source, kind="onnx", stage="export")
    manifest_path(source).replace(manifest_path(file))
    assert "of kind 'onnx'" in asked(file).text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "resnet-deploy/manifest/1"}', '{"schema": "of 2040"}'])
def test_a_manifest_that_can_not_be_read_is_damage(tmp_path: Path, content: str) -> None:
    file = made(tmp_path)
    manifest_path(file).write_text(content)
    assert asked(file).state is State.DAMAGED


def test_an_engine_without_weights_needs_its_onnx_file(tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    source.write_bytes(b"graph")
    file = made(tmp_path, inputs={"onnx": source})
    manifest = read_manifest(file)
    assert check_weights_file(file, manifest).state is State.GOOD
    source.write_bytes(b"other")
    assert "not the file it was built from" in check_weights_file(file, manifest).text
    source.unlink()
    missing = check_weights_file(file, manifest)
    assert missing.state is State.MISFIT and "net.onnx, which does, is not here" in missing.text
    assert check_weights_file(file, read_manifest(made(tmp_path))).state is State.MISFIT


def test_details_of_any_type_are_compared_without_a_crash(tmp_path: Path) -> None:
    file = made(tmp_path)
    record = json.loads(manifest_path(file).read_text())
    record["details"] = {"product": None, "product_version": [1, 7], "target_mask": "12"}
    manifest_path(file).write_text(json.dumps(record))
    assert asked(file).state is State.GOOD
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert asked(file).state is State.MISFIT
