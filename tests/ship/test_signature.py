"""Ed25519 keys and signatures, ours and OpenSSL's."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys

import pytest

from resnet_deploy.core.errors import ConfigError, MissingDependencyError
from resnet_deploy.ship.checks import CheckState, check_folder
from resnet_deploy.ship.signature import make_keys, read_private_key, read_public_key, sign, verifies
from resnet_deploy.ship.write import sign_bundle

pytest.importorskip("cryptography")


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "key.pem", make_keys(tmp_path / "key.pem")


@pytest.fixture
def bundle(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "a.bundle")


def signature_state(bundle, public):
    return next(check for check in check_folder(bundle, public_key=public)[1] if check.name == "signature")


def openssl(*arguments):
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not here")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_only_the_owner_can_read_a_new_private_key(keys):
    private, public = keys
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert public.name == "key.pub.pem" and not list(private.parent.glob(".*"))


def test_a_key_is_never_overwritten(keys):
    private, _ = keys
    before = private.read_bytes()
    with pytest.raises(ConfigError, match="key.pem is there"):
        make_keys(private)
    assert private.read_bytes() == before
    private.unlink()
    with pytest.raises(ConfigError, match="key.pub.pem is there"):
        make_keys(private)
    assert not private.exists()


def test_what_is_signed_verifies_and_nothing_else(keys):
    private, public = read_private_key(keys[0]), read_public_key(keys[1])
    signature = sign(b"manifest", private)
    assert len(signature) == 64
    assert verifies(signature, b"manifest", public)
    assert not verifies(signature, b"manifesu", public)
    assert not verifies(signature[:-1] + bytes([signature[-1] ^ 1]), b"manifest", public)
    assert not verifies(signature[:-1], b"manifest", public)


def test_a_signed_bundle(keys, bundle, tmp_path):
    public = read_public_key(keys[1])
    missing = signature_state(bundle, public)
    assert missing.state is CheckState.FAILED and "there is no bundle.sig" in missing.detail
    sign_bundle(bundle, read_private_key(keys[0]))
    assert signature_state(bundle, public).state is CheckState.PASSED
    assert signature_state(bundle, None).state is CheckState.NOT_RUN
    other = read_public_key(make_keys(tmp_path / "other.pem"))
    assert signature_state(bundle, other).state is CheckState.FAILED
    text = (bundle / "bundle.json").read_bytes()
    (bundle / "bundle.json").write_bytes(text + b"\n")
    assert signature_state(bundle, public).state is CheckState.FAILED


def test_openssl_verifies_our_signature(keys, bundle):
    sign_bundle(bundle, read_private_key(keys[0]))
    command = ("pkeyutl", "-verify", "-pubin", "-inkey", keys[1], "-rawin", "-in", bundle / "bundle.json", "-sigfile")
    done = openssl(*command, bundle / "bundle.sig")
    assert "Verified Successfully" in done.stdout, done.stderr
    (bundle / "bundle.sig").write_bytes(bytes(64))
    assert openssl(*command, bundle / "bundle.sig").returncode != 0


def test_keys_of_openssl_are_taken(bundle, tmp_path):
    private, public = tmp_path / "o.pem", tmp_path / "o.pub.pem"
    assert openssl("genpkey", "-algorithm", "ed25519", "-out", private).returncode == 0
    assert openssl("pkey", "-in", private, "-pubout", "-out", public).returncode == 0
    sign_bundle(bundle, read_private_key(private))
    assert signature_state(bundle, read_public_key(public)).state is CheckState.PASSED


def test_other_keys_are_refused(keys, tmp_path):
    private, public = keys
    with pytest.raises(ConfigError, match="is no private key in PEM"):
        read_private_key(public)
    with pytest.raises(ConfigError, match="is no public key in PEM"):
        read_public_key(private)
    with pytest.raises(ConfigError, match="nowhere.pem: no such file"):
        read_private_key(tmp_path / "nowhere.pem")
    other = tmp_path / "x.pem"
    assert openssl("genpkey", "-algorithm", "x25519", "-out", other).returncode == 0
    with pytest.raises(ConfigError, match="is a key of X25519, expected Ed25519"):
        read_private_key(other)


def test_without_the_package_the_remedy_is_named(keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(MissingDependencyError, match=r"need the package cryptography") as caught:
        read_private_key(keys[0])
    assert "resnet-deploy[sign]" in caught.value.remedy
