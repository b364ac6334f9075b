"""The networks that a report speaks of: which files, timings and verdicts are whose, and in what order they stand."""

from __future__ import annotations

__all__ = ["Network", "families", "find_networks", "join_names", "precisions_of"]

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resnet_deploy.bench.rows import BenchRow, cost_of
from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision
from resnet_deploy.nets.catalogue import NetSpec, find_net, known_nets
from resnet_deploy.report.documents import Document, Entry
from resnet_deploy.report.gather import Findings
from resnet_deploy.verify.verdict import Verdict

_FAMILIES = tuple(dict.fromkeys(spec.family for spec in known_nets()))
_UNKNOWN = "unknown"


@dataclass(kw_only=True, slots=True)
class Network:
    """One network with all that was found of it; filled by `find_networks`.

    Attributes:
        is_untrained: Its weights are random, so only its latency and its sizes mean something.
        spec: Its row of the catalogue, None for a foreign network.
        input_px: Height of its input, None where nothing says it.
    """

    name: str
    is_untrained: bool
    spec: NetSpec | None
    input_px: int | None = None
    entries: list[Entry] = field(default_factory=list)
    rows: list[BenchRow] = field(default_factory=list)
    verdicts: list[Document[Verdict]] = field(default_factory=list)

    @property
    def weights(self) -> str:
        """As the files or the timings say it."""
        said = [w for w in (*(e.weights for e in self.entries), *(r.weights for r in self.rows)) if w != _UNKNOWN]
        return said[0] if said else _UNKNOWN

    @property
    def cost(self) -> tuple[int | None, int | None]:
        """Parameters and multiply-adds per image."""
        for row in self.rows:
            if row.parameters is not None:
                return row.parameters, row.multiply_adds
        named = next((entry.manifest for entry in self.entries if entry.manifest.net), None)
        return cost_of(named) if self.spec else (None, None)

    def files(self, kind: str) -> list[Manifest]:
        """All of a kind, e.g. its engines."""
        return [entry.manifest for entry in self.entries if entry.manifest.kind == kind]

    def file(self, kind: str, precision: Precision) -> Manifest | None:
        """The first of a kind and precision."""
        return next((manifest for manifest in self.files(kind) if manifest.precision == precision), None)

    def fastest(self, *, on_gpu: bool) -> BenchRow | None:
        """The lowest median at the smallest batch that was timed; emulated rows do not count."""
        rows = [r for r in self.rows if r.timing and not r.is_emulated and (r.device.lower() != "cpu") == on_gpu]
        return min(rows, key=lambda row: (row.batch, row.timing.p50_ms), default=None)


def precisions_of(networks: Sequence[Network]) -> tuple[Precision, ...]:
    """MAIN_PRECISIONS and what else the files are in, in the order of `Precision`."""
    found = {entry.manifest.precision for network in networks for entry in network.entries}
    return tuple(precision for precision in Precision if precision in MAIN_PRECISIONS or precision in found)


def find_networks(findings: Findings) -> tuple[Network, ...]:
    """Sort what was found by network: judged ones first, then trained, then random; by family and depth in each."""
    networks: dict[tuple[str, bool], Network] = {}

    def of(name: str, weights: str) -> Network:
        key = name, weights.startswith("random")
        if weights == _UNKNOWN:  # beside a network of that name whose weights are known, where there is one
            key = next((known for known in networks if known[0] == name), key)
        if key not in networks:
            networks[key] = Network(name=name, is_untrained=key[1], spec=_spec(name))
        return networks[key]

    owners: dict[str, Network] = {}
    whole = [entry for entry in findings.entries if not entry.damage]
    for entry in sorted(whole, key=lambda entry: entry.weights == _UNKNOWN):
        if entry.manifest.net is not None:
            network = owners[entry.manifest.sha256] = of(entry.manifest.net.name, entry.weights)
            network.entries.append(entry)
            if network.input_px is None and entry.manifest.preprocess is not None:
                network.input_px = entry.manifest.preprocess.height_px
    for row in (row for benchmark in findings.benchmarks for row in benchmark.rows):
        of(row.net, row.weights).rows.append(row)
    for document in findings.verdicts:
        candidate = document.result.candidate
        name = document.result.net or Path(candidate.file).name.split(".")[0]
        owner = owners.get(candidate.sha256) or of(name, _UNKNOWN)
        owner.verdicts.append(document)
    position = {id(entry): place for place, entry in enumerate(findings.entries)}
    for network in networks.values():
        network.entries.sort(key=lambda entry: position[id(entry)])
        if network.input_px is None and network.spec is not None:
            network.input_px = network.spec.preprocess.height_px
    return tuple(sorted(networks.values(), key=_rank))


def families(networks: Iterable[Network]) -> list[tuple[str, list[Network]]]:
    """Networks that a plot may put on one axis, (heading, networks): of one family and one input size."""
    groups: dict[tuple, list[Network]] = {}
    for network in networks:
        family = network.spec.family if network.spec else network.name
        groups.setdefault((family, network.input_px), []).append(network)
    titles = {"imagenet": "ImageNet networks", "cifar": "CIFAR networks"}
    return [
        (titles.get(family, family) + (f", {px}\u00a0px" if px else ""), members)
        for (family, px), members in groups.items()
    ]


def join_names(names: Sequence[str]) -> str:
    """resnet18, resnet34 -> "resnet18, 34": a prefix is said once."""
    parts = [re.fullmatch(r"(\D*)(\d+)", name) for name in names]
    said, before = [], None
    for name, match in zip(names, parts, strict=True):
        prefix = match[1] if match else None
        said.append(match[2] if match and prefix == before else name)
        before = prefix
    return ", ".join(said)


def _spec(name: str) -> NetSpec | None:
    try:
        return find_net(name)
    except ConfigError:
        return None


def _rank(network: Network) -> tuple:
    family = _FAMILIES.index(network.spec.family) if network.spec else len(_FAMILIES)
    depth = network.spec.depth if network.spec else 0
    natural = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", network.name)]
    return network.is_untrained, not network.verdicts, family, depth, natural
