"""Damaged and hostile bundles from a sound one, by number: the same seed makes the same bundle.

    python -m tests.ship.mutations BUNDLE OUT --count 2000

writes OUT/00000.bundle and so on, and OUT/mutations.tsv with path, verdict and description of each. Files that are not
changed are hard links. The C++ library is driven with the same folders.
"""

from __future__ import annotations

__all__ = ["Mutation", "Verdict", "main", "mutate"]

import argparse
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.ship.manifest_mutations import MANIFEST_FAULTS, TEXT_FAULTS, rehashed


class Verdict(str, Enum):
    """What a reader must do.

    REJECT: from the bytes alone. REJECT_ON_RUN: at the latest when the model is run on the golden image. ANY: reject it or
    find it harmless, but not crash.
    """

    REJECT = "reject"
    REJECT_ON_RUN = "reject on run"
    HARMLESS = "harmless"
    ANY = "any"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """What was done to a bundle, and what must come of it."""

    description: str
    verdict: Verdict


def mutate(bundle: Path, out: Path, seed: int) -> Mutation:
    """Make the bundle `out` from `bundle`, with one fault of those below; `out` must not be there."""
    rng = random.Random(seed)
    shutil.copytree(bundle, out, copy_function=os.link)
    kinds = [*FILE_FAULTS, *[_of_manifest(fault) for fault in MANIFEST_FAULTS], *[_of_text(f) for f in TEXT_FAULTS]]
    description, verdict = kinds[seed % len(kinds)](out, rng)
    return Mutation(description=description, verdict=Verdict(verdict))


def replace_bytes(path: Path, data: bytes) -> None:
    """Write `path` anew; the hard link that was there keeps its bytes."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def _files(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*") if path.is_file() and path.name not in ("bundle.json", "bundle.sig"))


def _flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]


def _flip(out: Path, rng: random.Random) -> tuple[str, str]:
    path = rng.choice(_files(out))
    data = path.read_bytes()
    place = rng.randrange(len(data))
    replace_bytes(path, _flipped(data, place, rng.randrange(8)))
    return f"bit flipped in {path.name} at {place}", "reject"


def _flip_and_hash(out: Path, rng: random.Random) -> tuple[str, str]:
    path = rng.choice(_files(out))
    data = path.read_bytes()
    place = rng.choice([rng.randrange(len(data)), rng.randrange(min(len(data), 200))])
    replace_bytes(path, _flipped(data, place, rng.randrange(8)))
    rehashed(out, path)
    return f"bit flipped in {path.name} at {place}, hash made anew", "any"


def _scramble_and_hash(out: Path, rng: random.Random) -> tuple[str, str]:
    path = rng.choice(_files(out))
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([4, 64])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.5:
        data = data[: rng.randrange(len(data))]
    replace_bytes(path, bytes(data))
    rehashed(out, path)
    return f"{path.name} scrambled, hash made anew", "any"


def _engine_header(out: Path, rng: random.Random) -> tuple[str, str]:
    path = rng.choice(sorted(out.glob("engines/*.engine")))
    place = rng.choice([*range(4), *range(16, 20), *range(24, 28), 32])
    data = path.read_bytes()
    # bits 0 to 5 of the mask are the targets that have a name
    bit = rng.randrange(6) if place == 32 else rng.randrange(8)
    replace_bytes(path, _flipped(data, place, bit))
    rehashed(out, path)
    return f"engine header: byte {place}, bit {bit} flipped, hash made anew", "reject"


def _cut(out: Path, rng: random.Random) -> tuple[str, str]:
    path = rng.choice(_files(out))
    data = path.read_bytes()
    keep = rng.choice([0, 1, rng.randrange(len(data)), len(data) - 1])
    replace_bytes(path, data[:keep])
    return f"{path.name} cut to {keep} bytes", "reject"


def _extend(out: Path, rng: random.Random) -> tuple[str, str]:
    path = rng.choice(_files(out))
    more = rng.choice([1, 7, 4096])
    replace_bytes(path, path.read_bytes() + rng.randbytes(more))
    return f"{more} bytes added to {path.name}", "reject"


def _remove(out: Path, rng: random.Random) -> tuple[str, str]:
    path = rng.choice([*_files(out), out / "bundle.json"])
    path.unlink()
    return f"{path.name} removed", "reject"


def _remove_folder(out: Path, rng: random.Random) -> tuple[str, str]:
    shutil.rmtree(out / "engines")
    return "folder engines removed", "reject"


def _stray(out: Path, rng: random.Random) -> tuple[str, str]:
    names = ("extra.txt", ".hidden", "engines/other.engine", "a/b/c/d.bin", "model.onnx.data", "Labels.txt", "bundle.json~",
             "wei\u00df.txt", "new\nline", " ", "-rf", "a" * 200)  # fmt: skip
    name = rng.choice(names)
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"stray")
    return f"{name!r} added", "reject"


def _swap(out: Path, rng: random.Random) -> tuple[str, str]:
    one, two = rng.sample(_files(out), 2)
    first, second = one.read_bytes(), two.read_bytes()
    replace_bytes(one, second)
    replace_bytes(two, first)
    return f"{one.name} and {two.name} swapped", "reject"


def _link(out: Path, rng: random.Random) -> tuple[str, str]:
    path = rng.choice([*_files(out), out / "bundle.json"])
    kind = rng.choice(["outside", "inside", "dangling", "itself", "device", "long"])
    kept = out.parent / f"{out.name}.kept"
    if kind == "outside":
        shutil.copy(path, kept)
    other = next(file for file in _files(out) if file != path)
    target = {"outside": f"../{kept.name}" if path.parent == out else f"../../{kept.name}", "inside": str(other.resolve()),
              "dangling": "nowhere", "itself": path.name, "device": "/dev/zero", "long": "x" * 250}[kind]  # fmt: skip
    path.unlink()
    path.symlink_to(target)
    return f"{path.name} is a link ({kind})", "reject"


def _folder_link(out: Path, rng: random.Random) -> tuple[str, str]:
    kept = out.parent / f"{out.name}.engines"
    (out / "engines").rename(kept)
    (out / "engines").symlink_to(f"../{kept.name}")
    return "folder engines is a link to one outside", "reject"


def _not_a_file(out: Path, rng: random.Random) -> tuple[str, str]:
    path = rng.choice([*_files(out), out / "bundle.json"])
    path.unlink()
    if rng.random() < 0.5:
        os.mkfifo(path)
        return f"{path.name} is a fifo", "reject"
    path.mkdir()
    return f"{path.name} is a folder", "reject"


def _hard_link(out: Path, rng: random.Random) -> tuple[str, str]:
    path = rng.choice(_files(out))
    other = out.parent / f"{out.name}.hard"
    shutil.copy(path, other)
    path.unlink()
    os.link(other, path)
    return f"{path.name} is a hard link to an equal file outside", "harmless"


def _times_and_modes(out: Path, rng: random.Random) -> tuple[str, str]:
    path = rng.choice(_files(out))
    replace_bytes(path, path.read_bytes())
    os.utime(path, (0, 0))
    path.chmod(0o755)
    return f"{path.name} has another time and mode", "harmless"


def _signature(out: Path, rng: random.Random) -> tuple[str, str]:
    size = rng.choice([0, 1, 63, 65, 100_000])
    replace_bytes(out / "bundle.sig", rng.randbytes(size))
    return f"a signature of {size} bytes", "any"  # who asks for none need not look at it


def _labels(out: Path, rng: random.Random) -> tuple[str, str]:
    path = out / "labels.txt"
    lines = path.read_bytes().splitlines(keepends=True)
    changed = rng.choice([lines[:-1], [*lines, b"one more\n"], [b"\n", *lines[1:]], [b"\xff\xfe\n", *lines[1:]], []])
    replace_bytes(path, b"".join(changed))
    rehashed(out, path)
    return f"labels of {len(changed)} lines, hash made anew", "reject"


def _golden(out: Path, rng: random.Random) -> tuple[str, str]:
    from PIL import Image

    path = out / "golden.png"
    with Image.open(path) as image:
        pixels = image.convert("RGB")
    x, y = rng.randrange(pixels.width // 4, pixels.width * 3 // 4), rng.randrange(pixels.height)
    changed = rng.choice([
        lambda: pixels.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda: pixels.resize((pixels.width * 2, pixels.height)),
        lambda: Image.merge("RGB", pixels.split()[::-1]),
        lambda: (pixels.paste((255 - pixels.getpixel((x, y))[0],) * 3, (x - 3, y - 3, x + 3, y + 3)), pixels)[1],
        lambda: Image.new("RGB", (1, 1)),
    ])()  # fmt: skip
    path.unlink()
    changed.save(path)
    rehashed(out, path)
    return "another golden image, hash made anew", "reject"


def _harmless_manifest(out: Path, rng: random.Random) -> tuple[str, str]:
    path = out / "bundle.json"
    data = json.loads(path.read_bytes())
    rng.shuffle(data["files"])
    rng.shuffle(data["models"])
    data = dict(sorted(data.items(), key=lambda _: rng.random()))
    replace_bytes(path, json.dumps(data, indent=rng.choice([None, 1, 4])).encode())
    return "manifest in another order and layout", "harmless"


FILE_FAULTS: list[Callable[[Path, random.Random], tuple[str, str]]] = [
    *(_flip, _flip_and_hash, _scramble_and_hash, _engine_header, _cut, _extend, _remove, _remove_folder, _stray, _swap),
    *(_link, _folder_link, _not_a_file, _hard_link, _times_and_modes, _signature, _labels, _golden, _harmless_manifest),
]


def _of_manifest(fault: Callable) -> Callable[[Path, random.Random], tuple[str, str]]:
    """A fault of the parsed manifest as one of a bundle."""

    def apply(out: Path, rng: random.Random) -> tuple[str, str]:
        path = out / "bundle.json"
        data = json.loads(path.read_bytes())
        found = fault(data, rng)
        replace_bytes(path, json.dumps(data, indent=1).encode())
        return found

    return apply


def _of_text(fault: Callable) -> Callable[[Path, random.Random], tuple[str, str]]:
    """A fault of the manifest's bytes as one of a bundle."""

    def apply(out: Path, rng: random.Random) -> tuple[str, str]:
        path = out / "bundle.json"
        data, description, verdict = fault(path.read_bytes(), rng)
        replace_bytes(path, data)
        return description, verdict

    return apply


def main() -> None:
    """Write many, with a list of what each is."""
    parser = argparse.ArgumentParser(description="Write damaged and hostile bundles, made from a sound one.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    with open(given.out / "mutations.tsv", "w", encoding="utf-8") as table:
        for seed in range(given.first, given.first + given.count):
            path = given.out / f"{seed:05}.bundle"
            made = mutate(given.bundle, path, seed)
            table.write(f"{path}\t{made.verdict}\t{made.description!a}\n")


if __name__ == "__main__":
    main()
