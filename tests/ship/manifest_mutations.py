"""Faults of `bundle.json`: of what it says, and of its bytes."""

from __future__ import annotations

__all__ = ["MANIFEST_FAULTS", "TEXT_FAULTS", "rehashed"]

import hashlib
import json
import random
from pathlib import Path
from typing import Any

BAD_PATHS = ("../model.onnx", "/etc/passwd", "engines/../model.onnx", "engines//x.engine", "./model.onnx", ".hidden", "",
             "..", ".", "a\\b", "model.onnx\0", "C:/model.onnx", "modèl.onnx", "a/" * 8 + "b", "m" * 201, "model.onnx/",
             "~/x", "model onnx", "engines/.x", "%2e%2e/x", "\u202emodel", "../../../../tmp/x", "bundle.json", "bundle.sig")  # fmt: skip
WHOLE = ("num_classes", "height_px", "width_px", "resize_shorter_px", "size_bytes", "max_batch", "version")


def rehashed(bundle: Path, file: Path) -> None:
    """Make the manifest agree with a file that was changed."""
    path = bundle / "bundle.json"
    data = json.loads(path.read_bytes())
    bytes_ = file.read_bytes()
    for entry in data["files"]:
        if entry["path"] == file.relative_to(bundle).as_posix():
            entry |= {"sha256": hashlib.sha256(bytes_).hexdigest(), "size_bytes": len(bytes_)}
    path.unlink()
    path.write_bytes(json.dumps(data).encode())


def _places(data: Any, place: tuple = ()) -> list[tuple[Any, Any, tuple]]:
    """(container, key, place) of every value; of a long list of numbers the first only."""
    items = data.items() if isinstance(data, dict) else enumerate(data[:1] if _is_numbers(data) else data)
    found = []
    for key, value in items:
        found.append((data, key, (*place, key)))
        if isinstance(value, (dict, list)):
            found += _places(value, (*place, key))
    return found


def _is_numbers(data: list) -> bool:
    return len(data) > 4 and all(isinstance(value, float) for value in data)


def _named(place: tuple) -> str:
    return ".".join(map(str, place))


def _drop(data: dict, rng: random.Random) -> tuple[str, str]:
    places = [one for one in _places(data) if isinstance(one[0], dict) and one[2][0] != "made_by"]
    container, key, place = rng.choice(places)
    del container[key]
    return f"{_named(place)} dropped", "reject"


def _add(data: dict, rng: random.Random) -> tuple[str, str]:
    objects = [data, *[c[k] for c, k, p in _places(data) if isinstance(c[k], dict) and p[0] != "made_by"]]
    rng.choice(objects)[rng.choice(["extra", "Schema", "", "__class__", "x" * 5000])] = rng.choice([None, 1, {}, "x"])
    return "an unknown field", "reject"


def _retype(data: dict, rng: random.Random) -> tuple[str, str]:
    container, key, place = rng.choice(_places(data))
    old = container[key]
    others = [value for value in (True, "text", {}, {"a": 1}, [[]], -1.5, None) if type(value) is not type(old)]
    container[key] = rng.choice(others)
    fits = (place[-1] == "labels" and container[key] is None) or (isinstance(old, float) and container[key] == -1.5)
    fits = fits or place[0] == "made_by" or (place[-1] in ("mean", "std") and container[key] == [[]])
    return f"{_named(place)}: {str(old)[:40]} is {container[key]!r}", "any" if fits else "reject"


def _negative(data: dict, rng: random.Random) -> tuple[str, str]:
    places = [(c, k, p) for c, k, p in _places(data) if k in (*WHOLE, "max_abs_error") and _is_number(c[k])]
    places += [(data["preprocess"]["std"], rng.randrange(3), ("preprocess", "std"))]
    container, key, place = rng.choice(places)
    container[key] = rng.choice([-1, -(2**31), -(2**63), -container[key] or -1])
    return f"{_named(place)} is {container[key]}", "reject"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _huge(data: dict, rng: random.Random) -> tuple[str, str]:
    places = [(c, k, p) for c, k, p in _places(data) if k in WHOLE and _is_number(c[k])]
    places += [(data["preprocess"][name], 0, ("preprocess", name)) for name in ("mean", "std")]
    places += [(model["input"]["shape"], rng.randrange(1, 4), ("models", "input")) for model in data["models"]]
    container, key, place = rng.choice(places)
    container[key] = rng.choice([2**31, 2**40, 2**53 + 1, 2**63, 2**64, 10**30, 10**400, 1.5e300])
    return f"{_named(place)} is {str(container[key])[:30]}", "reject"


def _fraction(data: dict, rng: random.Random) -> tuple[str, str]:
    places = [(c, k, p) for c, k, p in _places(data) if k in WHOLE and _is_number(c[k])]
    container, key, place = rng.choice(places)
    container[key] += 0.5
    return f"{_named(place)} is {container[key]}", "reject"


def _path(data: dict, rng: random.Random) -> tuple[str, str]:
    wrong = rng.choice(BAD_PATHS)
    entry = rng.choice(data["files"])
    old = entry["path"]
    places = [(entry, "path"), (data, "labels"), (data, "licences"), (data["golden"], "image")]
    places += [(model, "path") for model in data["models"]]
    container, key = rng.choice(places)
    if rng.random() < 0.5:  # consistently, so that only the path itself is wrong
        for one, name in places:
            if one[name] == old:
                one[name] = wrong
        entry["path"] = wrong
    else:
        container[key] = wrong
    return f"{key} is {wrong[:40]!r}", "reject"


def _file_entry(data: dict, rng: random.Random) -> tuple[str, str]:
    files = data["files"]
    entry = rng.choice(files)
    kind = rng.choice(["twice", "missing", "other hash", "upper case", "short hash", "size", "none", "many"])
    if kind == "twice":
        files.append(dict(entry))
    elif kind == "missing":
        files.append({**entry, "path": "not-there.bin"})
    elif kind == "other hash":
        entry["sha256"] = hashlib.sha256(str(rng.random()).encode()).hexdigest()
    elif kind == "upper case":
        entry["sha256"] = "A" + entry["sha256"][1:].upper()
    elif kind == "short hash":
        entry["sha256"] = entry["sha256"][:-1]
    elif kind == "size":
        entry["size_bytes"] += rng.choice([1, -1, 2**32])
    elif kind == "none":
        files.clear()
    else:
        files += [{**entry, "path": f"x{index}"} for index in range(300)]
    return f"files: {kind}", "reject"


def _models(data: dict, rng: random.Random) -> tuple[str, str]:
    models = data["models"]
    kind = rng.choice(
        ["none", "many", "format", "product", "onnx product", "engine version", "capability", "input dtype"]
    )
    engine = next(model for model in models if model["format"] == "engine")
    onnx = next(model for model in models if model["format"] == "onnx")
    if kind == "none":
        models.clear()
    elif kind == "many":
        models += [dict(onnx) for _ in range(70)]
    elif kind == "format":
        onnx["format"] = rng.choice(["pt", "ONNX", "", "engine"])
    elif kind == "product":
        engine["product"] = rng.choice(["tensorrt", "", "TensorRT-RTX", "openvino"])
    elif kind == "onnx product":
        onnx["product"] = "tensorrt"
    elif kind == "engine version":
        engine["version"] = rng.choice(["", "1.6.1.5", "1.7.1.117", "latest", "1.7.1.116; rm -rf /"])
    elif kind == "capability":
        engine["compute_capabilities"] = rng.choice([["7.5"], ["8.6"] * 100, ["86"], ["8.6.1"], ["-8.6"], ["x.y"]])
    else:
        onnx["input"]["dtype"] = rng.choice(["float16", "uint8", "int64", "Float32"])
    return f"models: {kind}", "reject"


def _shapes(data: dict, rng: random.Random) -> tuple[str, str]:
    tensor = rng.choice(data["models"])[rng.choice(["input", "output"])]
    tensor["shape"] = rng.choice([[], [-1], [-1, 3], [0, 3, 32, 32], [-1, 4, 32, 32], [-1, -1, -1, -1], [-1] * 9, [2, 10],
                                  [-1, 0], [-1, 11], [-2, 10], [-1, 100_001]])  # fmt: skip
    return f"{tensor['name']}: shape {tensor['shape']}", "reject"


def _expected(data: dict, rng: random.Random) -> tuple[str, str]:
    test = rng.choice(data["models"])["self_test"]
    kind = rng.choice(["empty", "longer", "shorter", "too large", "zero limit"])
    if kind == "empty":
        test["expected"] = []
    elif kind == "longer":
        test["expected"].append(0.5)
    elif kind == "shorter":
        test["expected"].pop()
    elif kind == "too large":
        test["expected"][0] = 1e300
    else:
        test["max_abs_error"] = -0.0 if rng.random() < 0.5 else -1e-300
        return f"max_abs_error is {test['max_abs_error']}", "reject" if test["max_abs_error"] else "any"
    return f"expected: {kind}", "reject"


def _other_answer(data: dict, rng: random.Random) -> tuple[str, str]:
    test = next(model for model in data["models"] if model["format"] == "onnx")["self_test"]
    index = rng.randrange(len(test["expected"]))
    test["expected"][index] += rng.choice([-4, 4]) * test["max_abs_error"]
    return f"expected[{index}] four limits off", "reject on run"


def _other_pixels(data: dict, rng: random.Random) -> tuple[str, str]:
    pixels = data["preprocess"]
    if rng.random() < 0.5:
        pixels["resize_shorter_px"] += rng.choice([1, 8])
        return "another resize", "reject"
    name = rng.choice(["mean", "std"])
    pixels[name][rng.randrange(3)] += 0.05
    return f"another {name}", "reject on run"


def _names(data: dict, rng: random.Random) -> tuple[str, str]:
    container, key = rng.choice([(data, "name"), (data["net"], "name"), (data["models"][0]["input"], "name")])
    container[key] = rng.choice(["", "x" * 100_000])
    return f"{key} of {len(container[key])} characters", "reject"


def _versions(data: dict, rng: random.Random) -> tuple[str, str]:
    if rng.random() < 0.5:
        data["schema"] = rng.choice(["resnet-deploy/bundle/2", "", "resnet-deploy/bundle/1 ", "RESNET-DEPLOY/BUNDLE/1"])
        return f"schema {data['schema']!r}", "reject"
    data["preprocess"]["version"] = rng.choice([0, 2, 999])
    return "preprocess version", "reject"


def _net(data: dict, rng: random.Random) -> tuple[str, str]:
    kind = rng.choice(["classes", "output", "labels"])
    if kind == "classes":
        data["net"]["num_classes"] += rng.choice([1, -1, 100_000])
    elif kind == "output":
        data["net"]["output"] = rng.choice(["topk", "maps", "LOGITS", ""])
    else:
        data["labels"] = rng.choice([data["golden"]["image"], data["licences"], "not-there.txt"])
    return f"net: {kind}", "reject"


MANIFEST_FAULTS = [
    *(
        _drop,
        _add,
        _retype,
        _negative,
        _huge,
        _fraction,
        _path,
        _file_entry,
        _models,
        _shapes,
        _expected,
        _other_answer,
    ),
    *(_other_pixels, _names, _versions, _net),
]
"""(parsed manifest, changed in place; rng) -> description and verdict."""


def _raw_flip(data: bytes, rng: random.Random) -> tuple[bytes, str, str]:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :], f"bit at {place}", "any"


def _raw_cut(data: bytes, rng: random.Random) -> tuple[bytes, str, str]:
    keep = rng.randrange(len(data.rstrip()))
    return data[:keep], f"manifest cut to {keep} bytes", "reject"


def _raw_text(data: bytes, rng: random.Random) -> tuple[bytes, str, str]:
    name, changed = rng.choice([
        ("byte order mark", b"\xef\xbb\xbf" + data),
        ("UTF-16", data.decode().encode("utf-16")),
        ("bytes after the end", data + b"{}"),
        ("zeros after the end", data + b"\0\0"),
        ("a comma too many", data.rstrip()[:-1] + b",}"),
        ("a comment", b"// \n" + data),
        ("no UTF-8 in a text", data.replace(b'"name": "', b'"name": "\xff\xfe', 1)),
        ("overlong UTF-8", data.replace(b'"name": "', b'"name": "\xc0\xaf', 1)),
        ("a raw line feed in a text", data.replace(b'"name": "', b'"name": "\n', 1)),
        ("half a surrogate", data.replace(b'"name": "', b'"name": "\\ud800', 1)),
        ("a list", b"[" + data + b"]"),
        ("a number", b"1"),
        ("nothing", b""),
        ("5 MiB of blanks", data + b" " * (5 * 2**20)),
    ])  # fmt: skip
    return changed, f"manifest: {name}", "reject"


def _raw_number(data: bytes, rng: random.Random) -> tuple[bytes, str, str]:
    key = rng.choice([b'"max_abs_error": ', b'"size_bytes": ', b'"height_px": ', b'"num_classes": ', b'"max_batch": '])
    value = rng.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 5000, b"0x10", b"007", b"+1", b".5",
                        b"1.", b"1e", b"--1", b"1" + b"0" * 400])  # fmt: skip
    start = data.index(key) + len(key)
    stop = min(place for place in (data.find(mark, start) for mark in (b",", b"\n", b"}")) if place > 0)
    return data[:start] + value + data[stop:], f"{key.decode()}{value[:20].decode()}", "reject"


def _raw_duplicate(data: bytes, rng: random.Random) -> tuple[bytes, str, str]:
    key, value = rng.choice(
        [(b"schema", b'"resnet-deploy/bundle/1"'), (b"models", b"[]"), (b"files", b"[]"), (b"name", b'"x"')]
    )
    return data.replace(b"{", b'{"' + key + b'": ' + value + b", ", 1), f"key {key.decode()} twice", "reject"


def _raw_deep(data: bytes, rng: random.Random) -> tuple[bytes, str, str]:
    depth = rng.choice([20, 1000, 100_000, 1_000_000])
    inside = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    nested = inside[0] * depth + b"1" + inside[1] * depth if rng.random() < 0.5 else inside[0] * depth
    return data.replace(b'"made_by": {', b'"made_by": {"x": ' + nested + b", ", 1), f"nested {depth} deep", "reject"


TEXT_FAULTS = [_raw_flip, _raw_cut, _raw_text, _raw_number, _raw_duplicate, _raw_deep]
"""(bytes, rng) -> bytes, description, verdict."""
