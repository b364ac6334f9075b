"""`resnet-deploy bundle` as a user runs it."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from tests.ship.bundles import make_chain


def run(*arguments):
    return CliRunner().invoke(app, ["bundle", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    engine, _ = make_chain(folder)
    done = run(engine, "--out", folder / "small.bundle", "--archive", "--json")
    assert done.exit_code == 0, done.output
    return folder, json.loads(done.stdout)


def test_the_result_is_one_document(made):
    folder, result = made
    assert [model["path"] for model in result["models"]] == ["engines/small.fp32.engine", "model.onnx"]
    assert result["models"][0]["run_here"].startswith(("not run: ", "passed: "))
    assert result["archive"] == str(folder / "small.bundle.tar.gz") and not result["is_signed"]


@pytest.mark.parametrize("name", ["small.bundle", "small.bundle.tar.gz"])
def test_verify_passes(made, name):
    done = run("verify", made[0] / name, "--json")
    assert done.exit_code == 0, done.output
    states = {check["name"]: check["state"] for check in json.loads(done.stdout)["checks"]}
    assert states["hashes"] == states["golden image"] == states["self-test of model.onnx"] == "passed"
    assert states["signature"] == "not run"


def test_verify_without_running(made):
    done = run("verify", made[0] / "small.bundle", "--no-run", "--json")
    last = json.loads(done.stdout)["checks"][-1]
    assert (last["state"], last["detail"]) == ("not run", "left out with --no-run")


def test_verify_fails_with_1_and_says_what_to_do(made, tmp_path):
    bundle = shutil.copytree(made[0] / "small.bundle", tmp_path / "b.bundle")
    (bundle / "labels.txt").write_text("ant\n")
    done = run("verify", bundle)
    assert done.exit_code == 1
    assert "labels.txt has 4 bytes, the manifest says" in " ".join(done.output.split())
    assert "copy the bundle again" in done.output


@pytest.mark.parametrize("name", ["nowhere", "small.fp32.onnx", "."])
def test_no_bundle_at_all_is_2(made, name):
    assert run("verify", made[0] / name).exit_code == 2


def test_keygen_sign_and_verify(made, tmp_path):
    pytest.importorskip("cryptography")
    bundle = shutil.copytree(made[0] / "small.bundle", tmp_path / "b.bundle")
    assert run("keygen", "--out", tmp_path / "k.pem").exit_code == 0
    assert run("verify", bundle, "--public-key", tmp_path / "k.pub.pem").exit_code == 1
    assert run("sign", bundle, "--key", tmp_path / "k.pem").exit_code == 0
    assert run("verify", bundle, "--public-key", tmp_path / "k.pub.pem").exit_code == 0
    assert run("verify", bundle, "--public-key", tmp_path / "k.pem").exit_code == 2


def test_unpack(made, tmp_path):
    assert run("unpack", made[0] / "small.bundle.tar.gz", "--out", tmp_path / "u.bundle").exit_code == 0
    assert run("verify", tmp_path / "u.bundle").exit_code == 0
    assert run("unpack", made[0] / "small.bundle.tar.gz", "--out", tmp_path / "u.bundle").exit_code == 2


def test_the_time_of_source_date_epoch(made, tmp_path, monkeypatch):
    engine, _ = make_chain(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    done = run(engine, "--out", tmp_path / "x.bundle", "--json")
    assert json.loads(done.stdout)["version"] == "1970-01-02"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "noon")
    assert run(engine, "--out", tmp_path / "y.bundle").exit_code == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("verfy", "x"), "did you mean 'verify'?"),
        (("{folder}",), "is a folder, a file was expected"),
        (("{onnx}", "--version", " "), "the version of the bundle is empty"),
        (("{onnx}", "--triton", "t.toml"), "--triton is for --format triton"),
        (
            ("{bundle}", "--format", "triton", "--archive", "--golden", "g.png"),
            "--golden, --archive and --format triton",
        ),
        (("unpack", "{bundle}", "--out", "{folder}/u.bundle"), "is a folder, an archive was expected"),
        (("sign", "{onnx}", "--key", "{key}"), "is a file, the folder of a bundle was expected"),
        (("sign", "nowhere", "--key", "{key}"), "nowhere: no such folder"),
        (("sign", "{bundle}", "--key", "{public}"), "but PEM of the kind PUBLIC KEY"),
        (("verify", "{bundle}", "--public-key", "{key}"), "but PEM of the kind PRIVATE KEY"),
    ],
)
def test_wrong_use_is_told_in_our_words(made, tmp_path, arguments, message):
    folder, _ = made
    key = tmp_path / "key.pem"
    assert run("keygen", "--out", key).exit_code == 0
    places = {"folder": folder, "onnx": folder / "small.fp32.onnx", "bundle": folder / "small.bundle"}
    places |= {"key": key, "public": tmp_path / "key.pub.pem"}
    done = run(*(argument.format(**places) for argument in arguments))
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_wrong_usage_shows_the_command_that_was_typed():
    done = run()
    assert done.exit_code == 2
    assert "bundle [OPTIONS]" in done.output and "bundle files" not in done.output


def test_a_bundle_signed_later_is_packed_again(made, tmp_path):
    bundle = shutil.copytree(made[0] / "small.bundle", tmp_path / "b.bundle")
    shutil.copy(made[0] / "small.bundle.tar.gz", tmp_path / "b.bundle.tar.gz")
    keys = json.loads(run("keygen", "--out", tmp_path / "key.pem", "--json").stdout)
    first = run("sign", bundle, "--key", keys["private_key"])
    assert "add --archive to pack it again" in first.output
    unsigned = run("verify", tmp_path / "b.bundle.tar.gz", "--public-key", keys["public_key"], "--no-run")
    assert unsigned.exit_code == 1
    signed = json.loads(run("sign", bundle, "--key", keys["private_key"], "--archive", "--json").stdout)
    assert signed["public_key_sha256"] == keys["public_key_sha256"]
    assert run("verify", signed["archive"], "--public-key", keys["public_key"], "--no-run").exit_code == 0
    done = json.loads(run("unpack", signed["archive"], "--out", tmp_path / "u.bundle", "--json").stdout)
    assert (done["name"], done["num_files"]) == ("small", 5)
