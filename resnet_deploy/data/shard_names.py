"""Names of many shard files written as one: `imagenet-train-{000000..000146}.tar`."""

from __future__ import annotations

__all__ = ["expand_shards", "is_shard_pattern", "shards_of_split"]

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.splits import choose_split, split_of_word

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def is_shard_pattern(data: str) -> bool:
    """Whether `data` names several files; an existing path never does, whatever is in its name."""
    return not Path(data).exists() and bool(_BRACES.search(data) or "::" in data or glob.has_magic(data))


def expand_shards(pattern: str) -> list[Path]:
    """The files of a pattern, in its order.

    Args:
        pattern: Braces hold a range (`{000000..000146}`, zero-padded as its start is) or a list (`{a,b}`); `*`, `?`
            and `[...]` are matched against the file system, sorted; `::` joins patterns, over several mounts say.
    Raises:
        DataError: A file is missing, or nothing matches.
    """
    found: list[Path] = []
    for part in pattern.split("::"):
        for name in _expand_braces(part):
            found += [Path(match) for match in sorted(glob.glob(name))] if glob.has_magic(name) else [Path(name)]
    missing = [path for path in found if not path.is_file()]
    if missing:
        raise DataError(
            f"{pattern}: {len(missing)} of {len(found)} shards are missing, the first is {missing[0]}",
            remedy="fetch them, or name only those that are there",
        )
    if not found:
        raise DataError(f"{pattern}: no file matches", remedy="check the folder and the pattern")
    return found


def shards_of_split(paths: Sequence[Path], split: str | None, *, where: str) -> list[Path]:
    """Those whose file name names the split (`imagenet1k-train-0000.tar`); all where no name does.

    Raises:
        DataError: There are several splits and none was asked for, or the one asked for is not there.
    """
    words = [_split_in_name(path) for path in paths]
    available = {word for word in words if word is not None}
    if not available or (split is None and len(available) == 1):
        return list(paths)
    chosen = choose_split(available, split, where=where)
    return [path for path, word in zip(paths, words, strict=True) if word == chosen]


def _split_in_name(path: Path) -> str | None:
    return next((word for part in re.split(r"[-_.]", path.stem) if (word := split_of_word(part))), None)


def _expand_braces(text: str) -> Iterator[str]:
    found = _BRACES.search(text)
    if found is None:
        yield text
        return
    bounds = _RANGE.fullmatch(found[1])
    if bounds:
        width = len(bounds[1])
        choices = [f"{number:0{width}d}" for number in range(int(bounds[1]), int(bounds[2]) + 1)]
    else:
        choices = found[1].split(",")
    for choice in choices:
        yield from _expand_braces(text[: found.start()] + choice + text[found.end() :])
