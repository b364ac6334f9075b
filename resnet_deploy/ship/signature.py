"""Ed25519 signatures over `bundle.json`, which holds the hash of every other file of a bundle."""

from __future__ import annotations

__all__ = ["key_fingerprint", "make_keys", "public_key_path", "read_private_key", "read_public_key", "sign", "verifies"]

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_deploy.core.errors import ConfigError, MissingDependencyError
from resnet_deploy.core.files import sha256_of_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_MAX_KEY_BYTES = 65_536


def public_key_path(private_key: Path) -> Path:
    """Where the public half of a new key is put: `key.pub.pem` for `key.pem`."""
    return private_key.with_name(private_key.name.removesuffix(".pem") + ".pub.pem")


def make_keys(out: Path) -> Path:
    """A new key pair: `out` as PKCS8 PEM that only its owner may read, the public key beside it.

    Returns:
        The file of the public key.
    Raises:
        ConfigError: One of the files is there; a key is never overwritten.
    """
    serialization, ed25519 = _cryptography()
    public = public_key_path(out)
    for path in (out, public):
        if path.exists() or path.is_symlink():
            raise ConfigError(f"{path} is there, and a key is not overwritten", remedy="name another --out")
    key = ed25519.Ed25519PrivateKey.generate()
    out.parent.mkdir(parents=True, exist_ok=True)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    known = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write_new(public, known, 0o644)
    _write_new(out, secret, 0o600)
    return public


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """A PKCS8 PEM file without a passphrase, as `openssl genpkey -algorithm ed25519` writes it.

    Raises:
        ConfigError: Missing, no such file, encrypted, or of another algorithm.
    """
    serialization, ed25519 = _cryptography()
    data = _read(file)
    remedy = "make one with `resnet-deploy bundle keygen`, or `openssl genpkey -algorithm ed25519`"
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except Exception as error:  # ValueError, TypeError (a passphrase), UnsupportedAlgorithm
        raise ConfigError(
            f"{file} is no private key in PEM without a passphrase, but {_looks_like(data)}", remedy=remedy
        ) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{file} is a key of {_algorithm(key)}, expected Ed25519", remedy=remedy)
    return key


def read_public_key(file: Path) -> Ed25519PublicKey:
    """A SubjectPublicKeyInfo PEM file, as `openssl pkey -pubout` writes it.

    Raises:
        ConfigError: As `read_private_key`.
    """
    serialization, ed25519 = _cryptography()
    data = _read(file)
    remedy = "give the .pub.pem file of the key that signs, or `openssl pkey -in KEY.pem -pubout`"
    try:
        key = serialization.load_pem_public_key(data)
    except Exception as error:  # as above
        raise ConfigError(f"{file} is no public key in PEM, but {_looks_like(data)}", remedy=remedy) from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ConfigError(f"{file} is a key of {_algorithm(key)}, expected Ed25519", remedy=remedy)
    return key


def sign(data: bytes, key: Ed25519PrivateKey) -> bytes:
    """The 64 bytes of the signature."""
    return key.sign(data)


def verifies(signature: bytes, data: bytes, key: Ed25519PublicKey) -> bool:
    """Whether `signature` over `data` is by the owner of `key`."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def key_fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the 32 bytes of a public key, to compare by eye."""
    return sha256_of_bytes(key.public_bytes_raw())


def _looks_like(data: bytes) -> str:
    """What was given in place of a key; the library's own words are of framing and delimiters."""
    for kind in ("ENCRYPTED PRIVATE KEY", "PRIVATE KEY", "PUBLIC KEY", "CERTIFICATE"):
        if f"{kind}-----".encode() in data:
            return f"PEM of the kind {kind}"
    return f"begins with {data[:12]!r}"


def _algorithm(key: Any) -> str:
    return type(key).__name__.removesuffix("PrivateKey").removesuffix("PublicKey").strip("_")


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingDependencyError(
            f"signatures need the package cryptography ({error})", remedy="pip install 'resnet-deploy[sign]'"
        ) from error
    return serialization, ed25519


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise ConfigError(f"{file}: no such file", remedy="name a key in PEM")
    if file.stat().st_size > _MAX_KEY_BYTES:
        raise ConfigError(f"{file} has {file.stat().st_size:,} bytes, which no key has", remedy="name a key in PEM")
    return file.read_bytes()


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Its permissions are there before its bytes, its name after them."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(partial, path)  # unlike a rename, fails where the name was taken meanwhile
    finally:
        partial.unlink(missing_ok=True)
