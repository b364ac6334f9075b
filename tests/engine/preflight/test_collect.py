from __future__ import annotations

from pathlib import Path

import pytest

from resnet_deploy.core.artifacts import manifest_path, write_manifest
from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.engine.preflight.collect import collect_files, is_manifest


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """b.engine and sub/c.onnx with manifests, a manifest whose file is gone, a text, hidden and unfinished files."""
    (tmp_path / "sub").mkdir()
    for name in ("b.engine", "sub/c.onnx", "gone.engine"):
        (tmp_path / name).write_bytes(name.encode())
        write_manifest(tmp_path / name, kind="engine", stage="build")
    (tmp_path / "gone.engine").unlink()
    (tmp_path / "README.txt").write_text("read me")
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / ".b.engine.0123.part").write_text("")
    return tmp_path


def names(found: tuple[Path, ...], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in found]


ALL = ["README.txt", "b.engine", "gone.engine.json", "settings.json", "sub/c.onnx"]


def test_a_folder_gives_its_files_with_their_manifests_once(bundle: Path) -> None:
    assert names(collect_files([bundle]), bundle) == ALL
    assert names(collect_files([bundle, bundle / "b.engine", f"{bundle}/sub/../b.engine"]), bundle) == ALL


def test_a_pattern_gives_what_a_shell_would(bundle: Path) -> None:
    assert names(collect_files([f"{bundle}/*"]), bundle) == ALL
    assert names(collect_files([f"{bundle}/*.engine"]), bundle) == ["b.engine"]
    assert names(collect_files([f"{bundle}/**/*.onnx"]), bundle) == ["sub/c.onnx"]


def test_a_name_with_the_signs_of_a_pattern_is_a_name_where_it_exists(bundle: Path) -> None:
    (bundle / "[a].engine").write_text("x")
    assert names(collect_files([bundle / "[a].engine"]), bundle) == ["[a].engine"]


def test_a_manifest_stands_for_its_file(bundle: Path) -> None:
    assert names(collect_files([bundle / "b.engine.json", bundle / "gone.engine.json"]), bundle) == [
        "b.engine",
        "gone.engine.json",
    ]


def test_a_json_file_that_is_no_manifest_does_not_stand_for_a_file_of_its_name(bundle: Path) -> None:
    (bundle / "settings").write_text("not what settings.json describes")
    assert names(collect_files([bundle]), bundle) == [*ALL[:3], "settings", *ALL[3:]]


def test_a_damaged_manifest_still_stands_for_its_file(bundle: Path) -> None:
    manifest_path(bundle / "b.engine").write_text('{"schema": "resn')
    assert is_manifest(bundle / "b.engine.json")
    assert names(collect_files([bundle]), bundle) == ALL


@pytest.mark.parametrize(
    ("name", "says"),
    [("nothing", "nothing: no such file or folder"), ("*.plan", "no file in"), ("empty", "no file in")],
)
def test_what_gives_no_file_is_refused(bundle: Path, name: str, says: str) -> None:
    (bundle / "empty").mkdir()
    with pytest.raises(ArtifactError, match=says):
        collect_files([bundle / name])
