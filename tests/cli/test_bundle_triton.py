"""What `bundle --format triton` says and refuses."""

import json

import pytest
import typer
from typer.testing import CliRunner

from resnet_deploy.cli.bundle_triton import is_repository, verify_repository, write_repository
from resnet_deploy.cli.main import app
from resnet_deploy.core.errors import ConfigError
from tests.ship.triton_bundles import make_bundle


def test_the_repository_lies_beside_the_bundle_and_is_listed(tmp_path, capsys):
    make_bundle(tmp_path / "net.bundle")
    write_repository([tmp_path / "net.bundle"], None, None, force=False, json=False)
    out, err = capsys.readouterr()
    assert (tmp_path / "net.triton/net_pixels/config.pbtxt").is_file()
    assert "net/1/model.onnx" in out and "net_pixels/config.pbtxt" in out
    assert "one image a request" in err and "--model-repository=" in err


def test_json_is_the_record_and_the_toml_file_sets_the_numbers(tmp_path, capsys):
    make_bundle(tmp_path / "net.bundle")
    (tmp_path / "triton.toml").write_text("max_batch = 4\ninstances = 2\n")
    write_repository([tmp_path / "net.bundle"], tmp_path / "models", tmp_path / "triton.toml", force=False, json=True)
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((tmp_path / "models/triton.json").read_text())
    assert (record["options"]["max_batch"], record["options"]["instances"]) == (4, 2)
    assert "max_batch_size: 4" in (tmp_path / "models/net/config.pbtxt").read_text()


@pytest.mark.parametrize("names", [["model.onnx"], ["net.bundle", "net.bundle"]])
def test_only_one_bundle_is_served(tmp_path, names):
    make_bundle(tmp_path / "net.bundle")
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match=f"takes the folder of one bundle, got .*{names[0]}"):
        write_repository([tmp_path / name for name in names], None, None, force=False, json=False)


def test_a_repository_is_verified_and_a_changed_one_fails(tmp_path, capsys):
    make_bundle(tmp_path / "net.bundle")
    write_repository([tmp_path / "net.bundle"], None, None, force=False, json=False)
    folder = tmp_path / "net.triton"
    assert is_repository(folder) and not is_repository(tmp_path / "net.bundle")
    capsys.readouterr()
    verify_repository(folder, json=True)
    out, err = capsys.readouterr()
    assert json.loads(out)["bundle"] == "net" and "passed" in err
    (folder / "net/config.pbtxt").write_text("")
    with pytest.raises(typer.Exit) as caught:
        verify_repository(folder, json=False)
    assert caught.value.exit_code == 1
    assert "net/config.pbtxt was changed" in capsys.readouterr().err
    with pytest.raises(typer.Exit):
        verify_repository(folder, json=True)
    said = json.loads(capsys.readouterr().out)
    assert not said["passed"] and "net/config.pbtxt was changed" in said["problem"]


def test_a_signature_of_a_repository_can_not_be_asked_for(tmp_path):
    make_bundle(tmp_path / "net.bundle")
    write_repository([tmp_path / "net.bundle"], None, None, force=False, json=False)
    done = CliRunner().invoke(app, ["bundle", "verify", str(tmp_path / "net.triton"), "--public-key", "key.pub.pem"])
    assert done.exit_code == 2
    assert "is a repository for Triton, which has no signature" in " ".join(done.output.split())
