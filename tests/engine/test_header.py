from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.engine.building.build import BuildOptions, build_engine
from resnet_deploy.engine.header import RTX_TARGET_BITS, read_engine_header


def written(
    folder: Path, *, magic: bytes = b"vtrt", length: int | None = None, mask: int = 0x7E, body: int = 100
) -> Path:
    size = 64 + body
    head = bytearray(64)
    head[0:4] = magic
    struct.pack_into("<Q", head, 16, size if length is None else length)
    head[24:28] = bytes((1, 7, 1, 116))
    struct.pack_into("<I", head, 32, mask)
    file = folder / "net.engine"
    file.write_bytes(bytes(head) + bytes(body))
    return file


def test_a_header_tells_product_version_and_targets(tmp_path: Path) -> None:
    header = read_engine_header(written(tmp_path, mask=0x0C))
    assert (header.product, header.version, header.size_bytes) == ("tensorrt-rtx", "1.7.1.116", 164)
    assert (header.targets, header.unnamed_bits) == (("sm86", "sm89"), 0)
    assert read_engine_header(written(tmp_path)).unnamed_bits == 0x40


def test_a_tensorrt_header_has_no_targets_and_no_length(tmp_path: Path) -> None:
    header = read_engine_header(written(tmp_path, magic=b"ftrt", length=0))
    assert (header.product, header.target_mask, header.targets) == ("tensorrt", None, ())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"not a TensorRT engine: it begins with b''"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "PNG"),
        (b"vtrt" + bytes(20), "cut off: 24 bytes"),
        (bytes(200), "not a TensorRT engine"),
    ],
)
def test_what_is_no_engine_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "net.engine"
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=says):
        read_engine_header(file)


def test_a_missing_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        read_engine_header(tmp_path / "gone.engine")


def test_a_wrong_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="was cut off: 164 bytes, its header says 165"):
        read_engine_header(written(tmp_path, length=165))
    with pytest.raises(ArtifactError, match="bytes after its end: 164 bytes, its header says 163"):
        read_engine_header(written(tmp_path, length=163))


@pytest.mark.parametrize("target", [name for name in RTX_TARGET_BITS if name != "sm75"])
def test_real_engines_carry_the_bit_of_their_target(save_onnx, rtx, target: str) -> None:
    file = build_engine(BuildOptions(onnx=save_onnx("fp32"), targets=(target,))).file
    header = read_engine_header(file)
    assert header.target_mask == RTX_TARGET_BITS[target]
    assert header.version == rtx.__version__
    assert header.size_bytes == file.stat().st_size


def test_a_real_engine_cut_anywhere_is_refused(save_onnx, rtx) -> None:
    file = build_engine(BuildOptions(onnx=save_onnx("fp32"))).file
    whole = file.read_bytes()
    for size in (0, 3, 4, 63, 64, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(ArtifactError):
            read_engine_header(file)


@pytest.mark.parametrize(("precision", "num_weights"), [("fp32", 306), ("fp16", 306)])
def test_a_real_header_tells_the_size_of_the_weights(save_onnx, rtx, precision: str, num_weights: int) -> None:
    header = read_engine_header(build_engine(BuildOptions(onnx=save_onnx(precision), targets=("sm86",))).file)
    bytes_each = 2 if precision == "fp16" else 4
    # 8 filters of 3x3x3 and a linear layer of 10x8 with bias; the builder adds tables of its own, far below 2 KiB
    assert num_weights * bytes_each <= header.weights_bytes < num_weights * bytes_each + 2048


def test_a_table_of_sections_that_leaves_the_file_tells_no_weights(tmp_path: Path) -> None:
    file = written(tmp_path)
    data = bytearray(file.read_bytes())
    struct.pack_into("<I", data, 8, 1)
    struct.pack_into("<4s4xQQ", data, 64, b"THGW", 100, 64)
    file.write_bytes(data)
    assert read_engine_header(file).weights_bytes == 64
    for count, offset, length in ((1, 101, 64), (1, 2**64 - 1, 64), (17, 100, 64), (2**32 - 1, 100, 64), (0, 100, 64)):
        struct.pack_into("<I", data, 8, count)
        struct.pack_into("<4s4xQQ", data, 64, b"THGW", offset, length)
        file.write_bytes(data)
        assert read_engine_header(file).weights_bytes is None


def test_a_refusal_says_what_the_file_looks_like(tmp_path: Path) -> None:
    file = tmp_path / "net.engine"
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ArtifactError, match="Git LFS pointer, not the file itself"):
        read_engine_header(file)


@settings(max_examples=200, deadline=None)
@given(magic=st.sampled_from([b"", b"ftrt", b"vtrt"]), rest=st.binary(max_size=500), whole=st.booleans())
def test_no_bytes_crash_the_reader(tmp_path_factory, magic: bytes, rest: bytes, whole: bool) -> None:
    data = bytearray(magic + rest)
    if whole and len(data) >= 24:
        struct.pack_into("<Q", data, 16, len(data))
    file = tmp_path_factory.getbasetemp() / "any.engine"
    file.write_bytes(data)
    try:
        header = read_engine_header(file)
    except ArtifactError as error:
        assert str(file) in error.message and error.remedy
    else:
        assert data[:4] in (b"ftrt", b"vtrt") and len(data) >= 64
        assert header.weights_bytes is None or header.weights_bytes <= len(data)
