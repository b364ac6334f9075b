"""The provenance chain of a folder as a tree: every file under what it was made from, every broken link named."""

from __future__ import annotations

__all__ = ["ChainLink", "ChainNode", "find_chain"]

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from resnet_deploy.core.artifacts import InputRecord
from resnet_deploy.report.documents import Entry

_PARENT_ROLES = ("candidate", "engine", "onnx", "calibration", "checkpoint", "reference")
"""Of several inputs, the one that a file hangs under: the latest of the chain."""

_NO_FILES = ("images",)
"""Roles of what is no single file: their record holds a fingerprint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainLink:
    """One thing a file was made from.

    Attributes:
        file: Relative to the folder of the report where it lies inside, else as its record has it.
        recorded: SHA-256 that was written down when the file was made.
        found: SHA-256 of the file that lies there now; None where there is none in this folder.
        role: What it was used as.
    """

    role: str
    file: str
    recorded: str
    found: str | None

    @property
    def is_data(self) -> bool:
        """It is no single file but a set of images, described in words."""
        return self.role in _NO_FILES

    @property
    def is_broken(self) -> bool:
        """Another file lies where the recorded one was."""
        return self.found is not None and self.found != self.recorded


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainNode:
    """A file, how it hangs under its parent, what else it was made from, and what was made from it.

    Attributes:
        parent: None at a root.
    """

    entry: Entry
    parent: ChainLink | None
    others: tuple[ChainLink, ...]
    children: tuple[ChainNode, ...]

    @property
    def broken(self) -> tuple[ChainLink, ...]:
        """Its links that no longer hold."""
        return tuple(link for link in (self.parent, *self.others) if link is not None and link.is_broken)

    @property
    def num_faults(self) -> int:
        """Broken links and damaged files, in it and below it."""
        return len(self.broken) + bool(self.entry.damage) + sum(child.num_faults for child in self.children)

    @property
    def faulty(self) -> tuple[str, ...]:
        """Names of the files that are damaged or hang on a broken link, in it and below it."""
        own = (self.entry.name,) if self.broken or self.entry.damage else ()
        return own + tuple(name for child in self.children for name in child.faulty)

    @property
    def num_files(self) -> int:
        """In it and below it."""
        return 1 + sum(child.num_files for child in self.children)


def find_chain(entries: Sequence[Entry]) -> tuple[ChainNode, ...]:
    """The roots, in the order of `entries`, each with its tree; a file whose records go in a circle is a root."""
    known = {entry.name: entry for entry in entries}
    links = {entry.name: tuple(_link(entry, record, known) for record in entry.manifest.inputs) for entry in entries}
    parents = {name: _parent(name, links[name]) for name in known}
    for name in known:
        if _goes_in_a_circle(name, parents):
            parents[name] = None
    children: dict[str, list[str]] = {name: [] for name in known}
    for name, parent in parents.items():
        if parent is not None:
            children[parent.file].append(name)

    def node(name: str) -> ChainNode:
        others = tuple(link for link in links[name] if link is not parents[name])
        below = tuple(node(child) for child in children[name])
        return ChainNode(entry=known[name], parent=parents[name], others=others, children=below)

    return tuple(node(name) for name in known if parents[name] is None)


def _link(entry: Entry, record: InputRecord, known: dict[str, Entry]) -> ChainLink:
    inside = posixpath.normpath(posixpath.join(posixpath.dirname(entry.name), record.file))
    if record.role in _NO_FILES or inside not in known or inside == entry.name:
        return ChainLink(role=record.role, file=record.file, recorded=record.sha256, found=None)
    return ChainLink(role=record.role, file=inside, recorded=record.sha256, found=known[inside].manifest.sha256)


def _parent(name: str, links: Sequence[ChainLink]) -> ChainLink | None:
    """The link to hang under: by name, as `a.onnx.verdict.json` under `a.onnx`, or by role, or the only one.

    A benchmark of many files hangs under none.
    """
    inside = [link for link in links if link.found is not None]
    for link in inside:
        if name.startswith(f"{link.file}."):
            return link
    named = [link for link in inside if link.role in _PARENT_ROLES]
    if named:
        return min(named, key=lambda link: _PARENT_ROLES.index(link.role))
    return inside[0] if len(links) == 1 and inside else None


def _goes_in_a_circle(name: str, parents: dict[str, ChainLink | None]) -> bool:
    seen = {name}
    link = parents[name]
    while link is not None:
        if link.file in seen:
            return link.file == name
        seen.add(link.file)
        link = parents[link.file]
    return False
