"""Where every file comes from, and every link that no longer holds."""

from __future__ import annotations

from pathlib import Path

from resnet_deploy.core.artifacts import write_manifest
from resnet_deploy.report.chain import ChainNode, find_chain
from resnet_deploy.report.gather import gather
from tests.report.page import report_on


def make_chain(folder: Path) -> None:
    """Checkpoint -> FP32 -> calibration and INT8 -> engine, as the commands record it."""
    made_from = {
        "net.safetensors": ("checkpoint", {}),
        "net.fp32.onnx": ("onnx", {"checkpoint": "net.safetensors"}),
        "net.calib.json": ("calibration", {"onnx": "net.fp32.onnx", "images": ("512 of train", "f" * 64)}),
        "net.int8.onnx": ("onnx", {"onnx": "net.fp32.onnx", "calibration": "net.calib.json"}),
        "net.int8.engine": ("engine", {"onnx": "net.int8.onnx"}),
    }
    for name, (kind, inputs) in made_from.items():
        (folder / name).write_bytes(name.encode())
        given = {role: folder / value if isinstance(value, str) else value for role, value in inputs.items()}
        write_manifest(folder / name, kind=kind, stage="test", inputs=given)


def shape(nodes: tuple[ChainNode, ...]) -> dict:
    return {node.entry.name: shape(node.children) for node in nodes}


def chain_of(folder: Path) -> tuple[ChainNode, ...]:
    return find_chain(gather(folder).entries)


def test_a_file_hangs_under_the_file_it_was_made_from(tmp_path: Path) -> None:
    make_chain(tmp_path)
    (root,) = chain_of(tmp_path)
    assert shape((root,)) == {
        "net.safetensors": {"net.fp32.onnx": {"net.int8.onnx": {"net.int8.engine": {}}, "net.calib.json": {}}}
    }
    assert root.num_files == 5 and root.num_faults == 0
    int8 = root.children[0].children[0]
    assert [(link.role, link.file, link.is_broken) for link in int8.others] == [
        ("calibration", "net.calib.json", False)
    ]


def test_a_file_made_anew_breaks_the_links_of_what_was_made_from_it(tmp_path: Path) -> None:
    make_chain(tmp_path)
    (tmp_path / "net.calib.json").write_bytes(b"other scales")
    write_manifest(tmp_path / "net.calib.json", kind="calibration", stage="test")
    roots = chain_of(tmp_path)
    assert sum(root.num_faults for root in roots) == 1
    page, html = report_on(tmp_path)
    assert "1 link of 5 files no longer holds" in page.text and "✗ broken: the file there now is" in page.text
    assert 'class="file broken"' in html and "✗ No" in page.text


def test_a_file_that_was_changed_is_named_and_its_children_are_not(tmp_path: Path) -> None:
    make_chain(tmp_path)
    (tmp_path / "net.int8.onnx").write_bytes(b"changed by hand")
    (root,) = chain_of(tmp_path)
    assert root.num_faults == 1
    page, _ = report_on(tmp_path)
    assert "✗ changed or cut off since it was made: 15 bytes" in page.text


def test_a_file_from_another_folder_is_no_broken_link(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    make_chain(tmp_path)
    write_manifest(tmp_path / "net.int8.engine", kind="engine", stage="build", inputs={"onnx": ("../x.onnx", "a" * 64)})
    engine = next(root for root in chain_of(tmp_path) if root.entry.name == "net.int8.engine")
    assert engine.num_faults == 0 and engine.others[0].found is None
    assert "x.onnx aaaaaaaaaaaa not in this folder" in report_on(tmp_path)[0].text


def test_a_result_hangs_under_the_file_whose_name_it_bears(tmp_path: Path) -> None:
    make_chain(tmp_path)
    result = tmp_path / "net.int8.onnx.attribution.json"
    result.write_bytes(b"{}")
    inputs = {"reference": tmp_path / "net.safetensors", "int8 onnx": tmp_path / "net.int8.onnx"}
    write_manifest(result, kind="attribution", stage="attribute", inputs=inputs)
    (root,) = chain_of(tmp_path)
    int8 = root.children[0].children[0]
    assert [child.entry.name for child in int8.children] == ["net.int8.engine", result.name]


def test_a_benchmark_of_many_files_hangs_under_none(tmp_path: Path) -> None:
    make_chain(tmp_path)
    (tmp_path / "two").write_bytes(b"2")
    files = {"file 0": tmp_path / "net.fp32.onnx", "file 1": tmp_path / "net.int8.onnx"}
    write_manifest(tmp_path / "two", kind="other", stage="test", inputs=files)
    assert [root.entry.name for root in chain_of(tmp_path)] == ["net.safetensors", "two"]


def test_records_that_go_in_a_circle_end(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    for name, source in ("ab", "bc", "ca"):
        write_manifest(tmp_path / name, kind="onnx", stage="test", inputs={"onnx": tmp_path / source})
    roots = chain_of(tmp_path)
    assert sum(root.num_files for root in roots) == 3
