"""Hostile and damaged archives from a sound bundle, by number: the same seed makes the same archive."""

from __future__ import annotations

__all__ = ["NUM_KINDS", "mutate_archive"]

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

Members = list[tuple[tarfile.TarInfo, bytes]]

OUTSIDE = ("../canary.txt", "../../canary.txt", "/tmp/canary.txt", "x.bundle/../../canary.txt", "x.bundle//../canary.txt",
           "x.bundle/engines/../../../canary.txt", "./../canary.txt", "..", "x.bundle/..", "x.bundle/./../../canary.txt",
           "..\\canary.txt", "x.bundle\\..\\..\\canary.txt", "C:\\canary.txt", "~/canary.txt", "x.bundle/\x01canary")  # fmt: skip


def _entry(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def _members(bundle: Path) -> Members:
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != "bundle.json")
    named = [bundle / "bundle.json", *files]
    return [_entry(f"x.bundle/{path.relative_to(bundle).as_posix()}", path.read_bytes()) for path in named]


def _packed(members: Members, *, form: int = tarfile.USTAR_FORMAT) -> bytes:
    stream = io.BytesIO()
    for info, data in members:
        stream.write(info.tobuf(form, "utf-8", "surrogateescape"))
        stream.write(data + b"\0" * (-len(data) % 512))
    stream.write(b"\0" * 1024)
    return stream.getvalue()


def _outside(members: Members, rng: random.Random) -> tuple[bytes, str]:
    name = rng.choice(OUTSIDE)
    members.insert(rng.randrange(len(members) + 1), _entry(name, b"owned"))
    return _packed(members), f"member {name!r}"


def _renamed_outside(members: Members, rng: random.Random) -> tuple[bytes, str]:
    """The manifest agrees with the path, so that only its own rules are in the way."""
    name = rng.choice(OUTSIDE)
    manifest = json.loads(members[0][1])
    manifest["files"][0]["path"] = name.removeprefix("x.bundle/")
    members[0] = _entry("x.bundle/bundle.json", json.dumps(manifest).encode())
    return _packed([*members, _entry(name, b"owned")]), f"member {name!r}, in the manifest as well"


def _special(members: Members, rng: random.Random) -> tuple[bytes, str]:
    kind, target = rng.choice([
        (tarfile.SYMTYPE, "../../canary.txt"), (tarfile.SYMTYPE, "/etc/passwd"), (tarfile.SYMTYPE, "bundle.json"),
        (tarfile.LNKTYPE, "x.bundle/bundle.json"), (tarfile.LNKTYPE, "../canary.txt"), (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.CHRTYPE, ""), (tarfile.BLKTYPE, ""), (tarfile.FIFOTYPE, ""), (tarfile.CONTTYPE, ""), (b"V", ""), (b"S", ""),
        (b"Z", ""), (b"D", ""), (b"M", ""),
    ])  # fmt: skip
    index = rng.randrange(len(members))
    members[index] = _entry(members[index][0].name, type=kind, linkname=target)
    return _packed(members), f"{members[index][0].name} is of type {kind!r} to {target!r}"


def _through_a_link(members: Members, rng: random.Random) -> tuple[bytes, str]:
    link = _entry("x.bundle/engines", type=tarfile.SYMTYPE, linkname=rng.choice(["..", "../..", "/tmp"]))
    place = rng.choice([0, 1])
    return _packed([*members[:place], link, *members[place:]]), f"engines is a link to {link[0].linkname}"


def _twice(members: Members, rng: random.Random) -> tuple[bytes, str]:
    one = rng.choice(members)
    return _packed([*members, (one[0], one[1])]), f"{one[0].name} twice"


def _stray(members: Members, rng: random.Random) -> tuple[bytes, str]:
    name = rng.choice(["x.bundle/more.txt", "x.bundle/.bashrc", "x.bundle/engines/more.engine", "x.bundle/Bundle.json",
                       "y.bundle/model.onnx", "model.onnx", "x.bundle/engines/a/b/c/d/e/f/g/h/i"])  # fmt: skip
    members.insert(rng.randrange(1, len(members) + 1), _entry(name, b"more"))
    return _packed(members), f"member {name!r}"


def _missing(members: Members, rng: random.Random) -> tuple[bytes, str]:
    index = rng.randrange(len(members))
    name = members.pop(index)[0].name
    return _packed(members), f"{name} left out"


def _late_manifest(members: Members, rng: random.Random) -> tuple[bytes, str]:
    return _packed([*members[1:], members[0]]), "manifest last"


def _sizes(members: Members, rng: random.Random) -> tuple[bytes, str]:
    index = rng.randrange(1, len(members))  # the manifest may lose its last line feed
    info, data = members[index]
    change = rng.choice([-1, 1, 512, 4096, -len(data)])
    changed = data[:change] if change < 0 else data + b"\0" * change
    members[index] = _entry(info.name, changed)
    return _packed(members), f"{info.name} has {change} bytes more"


def _false_header(members: Members, rng: random.Random) -> tuple[bytes, str]:
    index = rng.randrange(len(members))
    info, data = members[index]
    size = rng.choice([2**33 - 1, 2**62, -1, -512, 2**80])
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if 0 <= size < 2**33:
        block[124:136] = b"%011o\0" % size
    else:
        block[124:136] = (size % 2**96).to_bytes(12, "big")
        block[124] = 0xFF if size < 0 else 0x80
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    before = _packed(members[:index])[:-1024]
    return before + bytes(block) + data, f"{info.name}: a header that says {size} bytes"


def _flipped_header(members: Members, rng: random.Random) -> tuple[bytes, str]:
    data = bytearray(_packed(members))
    starts, place = [], 0
    for _, content in members:
        starts.append(place)
        place += 512 + len(content) + -len(content) % 512
    place = rng.choice(starts) + rng.choice([*range(8), *range(124, 136), *range(148, 154), 257, 345])
    data[place] ^= 1 << rng.randrange(7)
    return bytes(data), f"bit of a header flipped at {place}"


def _extended(members: Members, rng: random.Random) -> tuple[bytes, str]:
    kind = rng.choice([b"x", b"g", b"L", b"K"])
    text = rng.choice(
        [b"30 path=../../canary.txt\n", b"22 linkpath=/etc/xxx\n", b"20 size=99999999999\n", b"../" * 400 + b"\0"]
    )
    place = rng.randrange(len(members))
    header = _entry("././@LongLink", text, type=kind)
    return _packed([*members[:place], header, *members[place:]]), f"extended header {kind!r}: {text[:30]!r}"


def _bomb(members: Members, rng: random.Random) -> tuple[bytes, str]:
    """200 MB of zeros, a thousandth of it packed."""
    info = _entry(rng.choice(["x.bundle/more.bin", "x.bundle/model.onnx", "x.bundle/bundle.json"]))[0]
    info.size = 200 * 10**6
    place = rng.randrange(len(members) + 1)
    bomb = info.tobuf(tarfile.USTAR_FORMAT) + bytes(info.size)
    before = _packed(members[:place])[:-1024]
    return before + bomb + _packed(members[place:]), f"200 MB of zeros as {info.name}"


def _many_folders(members: Members, rng: random.Random) -> tuple[bytes, str]:
    folders = [_entry(f"x.bundle/d{index}", type=tarfile.DIRTYPE) for index in range(5000)]
    return _packed([*folders, *members]), "5,000 folders before the manifest"


def _folder_for_a_file(members: Members, rng: random.Random) -> tuple[bytes, str]:
    manifest = json.loads(members[0][1])
    inside = {**manifest["files"][0], "path": f"{manifest['files'][0]['path']}/inside"}
    manifest["files"].append(inside)
    members[0] = _entry("x.bundle/bundle.json", json.dumps(manifest).encode())
    first = next(data for info, data in members if info.name.endswith(manifest["files"][0]["path"]))
    return _packed([*members, _entry(f"x.bundle/{inside['path']}", first)]), "a file and a folder of one name"


def _after_the_end(members: Members, rng: random.Random) -> tuple[bytes, str]:
    more = rng.choice([b"more", _packed([_entry("../canary.txt", b"owned")]), bytes(3 * 2**20)])
    return _packed(members) + more, f"{len(more)} bytes after the end"


def _raw(members: Members, rng: random.Random) -> tuple[bytes, str]:
    kind, data = rng.choice([("zeros", bytes(10_240)), ("nothing", b""), ("noise", rng.randbytes(5000))])
    return data, f"a tar file of {kind}"


KINDS: list[Callable[[Members, random.Random], tuple[bytes, str]]] = [
    *(_outside, _renamed_outside, _special, _through_a_link, _twice, _stray, _missing, _late_manifest, _sizes),
    *(_false_header, _flipped_header, _extended, _bomb, _many_folders, _folder_for_a_file, _after_the_end, _raw),
]
NUM_KINDS = len(KINDS) + 3


def mutate_archive(bundle: Path, out: Path, seed: int) -> str:
    """Write an archive that must be refused, and say what is wrong with it."""
    rng = random.Random(seed)
    kind = seed % NUM_KINDS
    if kind < len(KINDS):
        data, description = KINDS[kind](_members(bundle), rng)
        out.write_bytes(gzip.compress(data, compresslevel=1))
        return description
    packed = gzip.compress(_packed(_members(bundle)), compresslevel=1)
    if kind == len(KINDS):
        keep = rng.randrange(len(packed) - 9)
        out.write_bytes(packed[:keep])
        return f"cut to {keep} bytes"
    if kind == len(KINDS) + 1:
        place = rng.randrange(10, len(packed))
        out.write_bytes(packed[:place] + bytes([packed[place] ^ (1 << rng.randrange(8))]) + packed[place + 1 :])
        return f"bit flipped at {place} of the packed bytes"
    out.write_bytes(packed + rng.choice([b"more", packed, gzip.compress(b"more")]))
    return "something after the packed bytes"
