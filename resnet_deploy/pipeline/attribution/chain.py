"""From a delivered file back to the network it came from: which files stand between, and which are to be made."""

from __future__ import annotations

__all__ = ["Chain", "Stage", "find_chain"]

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resnet_deploy.core.artifacts import InputRecord, Manifest, find_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.engine.open import backends_of
from resnet_deploy.pipeline.attribution.files import FromCheckpoint, InHalf, Made, Requantised
from resnet_deploy.verify.attribution.result import NotRun

REFERENCE_RUNTIME = "onnxruntime"
"""What runs the ONNX files of the chain; any other backend is an engine of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A network of the chain.

    Attributes:
        cause: What is replaced to come here from the stage before; see `verify.attribution.result.CAUSES`.
        file: None where it is to be made.
        made: How to make it.
        preprocess: Of a file without a manifest, as a later one's manifest says it.
    """

    name: str
    cause: str
    file: Path | None = None
    backend: str | None = None
    made: Made | None = None
    preprocess: Preprocess | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """What was found.

    Attributes:
        stages: Reference first, candidate last.
        branch: Precision conversion made before quantisation, and the place in `stages` where it starts.
        gaps: What could not be found, and why.
    """

    stages: tuple[Stage, ...]
    branch: Stage | None = None
    gaps: tuple[NotRun, ...] = ()


def find_chain(
    candidate: Path,
    candidate_backend: str | None = None,
    *,
    reference: Path | None = None,
    reference_backend: str | None = None,
) -> Chain:
    """Walk the manifests of `candidate` back as far as they go, or to `reference`.

    Raises:
        ArtifactError: The candidate is missing, or was changed since its manifest was written.
        ConfigError: The candidate is a checkpoint, or no file that can be run; or the chain has one network only and no reference was named.
    """
    if candidate.suffix == ".safetensors":
        raise ConfigError(
            f"{candidate} is a checkpoint, which is where a chain begins",
            remedy="name an ONNX file or an engine that was made from it",
        )
    backends_of(candidate)
    if not candidate.is_file():
        raise ArtifactError(f"{candidate}: no such file", remedy="check the path, or run the stage that makes it")
    walk = _Walk()
    stages = walk.to_engine(candidate, candidate_backend)
    if reference is not None:
        stages = walk.begin_with(reference, stages)
    if reference_backend is not None:
        stages[0] = replace(stages[0], backend=reference_backend)
    if len(stages) < 2:
        if reference is not None:
            raise ConfigError(
                f"{candidate} and the reference {reference} are the same file: nothing is lost between them"
            )
        reason = walk.gaps[0].reason if walk.gaps else "it has no manifest that says what it was made from"
        raise ConfigError(
            f"nothing leads from {candidate} to a network before it: {reason}",
            remedy="name the original network with --reference CHECKPOINT",
        )
    stages = _distinct(stages)
    return Chain(stages=tuple(stages), branch=_branch(stages), gaps=tuple(walk.gaps))


class _Walk:
    """Finds stages, and keeps a list of what it did not find."""

    def __init__(self) -> None:
        self.gaps: list[NotRun] = []

    def to_engine(self, file: Path, backend: str | None) -> list[Stage]:
        """The stages up to a file as the user named it."""
        if file.suffix != ".engine":
            stages = self.to_onnx(file)
            if backend not in (None, REFERENCE_RUNTIME):
                stages.append(Stage(name=backend, cause="engine", file=file, backend=backend))
            return stages
        engine = Stage(name="engine", cause="engine", file=file, backend=backend)
        manifest = find_manifest(file)
        parent = self._parent(file, manifest, "onnx", "engine")
        return [engine] if parent is None else [*self.to_onnx(parent), engine]

    def to_onnx(self, file: Path) -> list[Stage]:
        """The stages up to an ONNX file, itself included."""
        manifest = find_manifest(file)
        if manifest is None:
            return [Stage(name=_name_of(file, None), cause="", file=file)]
        if manifest.stage == "quantize":
            return self._to_quantised(file, manifest)
        if manifest.stage == "train":
            role = "quantized" if manifest.input_sha256("quantized") else "onnx"
            return self._after(file, manifest, role, "further training")
        if manifest.stage == "import":
            return self._to_imported(file, manifest)
        if manifest.precision in (Precision.FP16, Precision.BF16):
            return self._after(file, manifest, "onnx", "precision conversion")
        return self._to_exported(file, manifest)

    def _after(self, file: Path, manifest: Manifest, role: str, cause: str) -> list[Stage]:
        stage = Stage(name=_name_of(file, manifest), cause=cause, file=file)
        parent = self._parent(file, manifest, role, cause)
        return [stage] if parent is None else [*self.to_onnx(parent), stage]

    def _to_exported(self, file: Path, manifest: Manifest) -> list[Stage]:
        stage = Stage(name=_name_of(file, manifest), cause="export", file=file)
        if any(record.role.startswith("member") for record in manifest.inputs):
            self._miss("export", file, "it averages several checkpoints, none of which is its reference alone")
            return [stage]
        if "form" in manifest.details:
            self._miss("export", file, f"a checkpoint does not run in the form {manifest.details['form']}")
            return [stage]
        parent = self._parent(file, manifest, "checkpoint", "export")
        return [stage] if parent is None else [Stage(name="reference", cause="", file=parent), stage]

    def _to_imported(self, file: Path, manifest: Manifest) -> list[Stage]:
        stage = Stage(name=_name_of(file, manifest), cause="import", file=file)
        parent = self._parent(file, manifest, "onnx", "import")
        if parent is None:
            return [stage]
        return [Stage(name="reference", cause="", file=parent, preprocess=manifest.preprocess), stage]

    def _to_quantised(self, file: Path, manifest: Manifest) -> list[Stage]:
        causes = _quantising_causes(manifest)
        parent = self._parent(file, manifest, "onnx", " + ".join(causes))
        if parent is None:
            return [Stage(name=_name_of(file, manifest), cause=" + ".join(causes), file=file)]
        return [*self.to_onnx(parent), *self._from_network(parent, file, manifest)]

    def _from_network(self, network: Path | FromCheckpoint, file: Path, manifest: Manifest) -> list[Stage]:
        """What lies between an FP32 file and the quantised `file`, itself included."""
        name, causes = _name_of(file, manifest), _quantising_causes(manifest)
        table = self._parent(file, manifest, "calibration", "quantisation") if len(causes) > 1 else None
        if table is None:
            return [Stage(name=name, cause=" + ".join(causes), file=file)]
        made = Requantised(network=network, table=table, manifest=manifest, floats=Precision.FP32)
        between = [Stage(name=f"{manifest.precision} onnx, fp32 floats", cause="quantisation", made=made)]
        if len(causes) > 2:
            made = replace(made, floats=_floats_of(manifest))
            between.append(Stage(name=f"{manifest.precision} onnx, unrefined", cause="precision conversion", made=made))
        return [*between, Stage(name=name, cause=causes[-1], file=file)]

    def begin_with(self, reference: Path, stages: list[Stage]) -> list[Stage]:
        """The chain from `reference` on: cut where it stands in it, else with it in front."""
        if not reference.is_file():
            raise ArtifactError(f"{reference}: no such file", remedy="check the path given with --reference")
        digest = sha256_of_file(reference)
        for place, stage in enumerate(stages):
            if stage.file is not None and sha256_of_file(stage.file) == digest:
                return [replace(stage, name="reference", cause="", file=reference), *stages[place + 1 :]]
        first = Stage(name="reference", cause="", file=reference)
        root, rest = stages[0], stages[1:]
        manifest = find_manifest(root.file)
        is_network = root.file.suffix == ".safetensors" or (
            root.file.suffix == ".onnx" and _precision_of(root.file, manifest) is Precision.FP32
        )
        if root.file.suffix == ".safetensors" or reference.suffix != ".safetensors":
            name = root.name if root.name != "reference" else "the chain's own network"
            return [
                first,
                replace(root, cause="other weights" if is_network else _cause_of(root, manifest), name=name),
                *rest,
            ]
        if root.file.suffix == ".onnx" and manifest is not None and manifest.precision is Precision.FP32:
            self._forget("export")
            return [first, replace(root, cause="export"), *rest]
        made = FromCheckpoint(checkpoint=reference)
        exported = Stage(name="fp32 onnx", cause="export", made=made)
        if root.file.suffix == ".onnx" and manifest is not None and manifest.stage == "quantize":
            self._forget(root.cause)
            return [first, exported, *self._from_network(made, root.file, manifest), *rest]
        return [first, exported, replace(root, cause=_cause_of(root, manifest)), *rest]

    def _parent(self, file: Path, manifest: Manifest | None, role: str, cause: str) -> Path | None:
        """The file that `file` was made from, where it is still there and the same."""
        if manifest is None:
            self._miss(cause, file, "it has no manifest that says what it was made from")
            return None
        record = next((record for record in manifest.inputs if record.role == role), None)
        if record is None:
            self._miss(cause, file, f"its manifest names no {role}")
            return None
        return self._found(file, record, cause)

    def _found(self, file: Path, record: InputRecord, cause: str) -> Path | None:
        parent = file.parent / record.file
        if not parent.is_file():
            self._miss(cause, file, f"it was made from {parent}, which is not here")
            return None
        if sha256_of_file(parent) != record.sha256:
            self._miss(cause, file, f"{parent} was changed since it was made from it")
            return None
        return parent

    def _miss(self, cause: str, file: Path, reason: str) -> None:
        self.gaps.append(NotRun(cause=cause, file=str(file), reason=reason))

    def _forget(self, cause: str) -> None:
        """What the user's reference has supplied."""
        self.gaps = [gap for gap in self.gaps if gap.cause != cause]


def _distinct(stages: Sequence[Stage]) -> list[Stage]:
    """With a number behind names that come again, as of a file that was trained twice."""
    names = [stage.name for stage in stages]
    numbers = [names[:place].count(name) + 1 for place, name in enumerate(names)]
    return [
        stage if number == 1 else replace(stage, name=f"{stage.name} ({number})")
        for stage, number in zip(stages, numbers, strict=True)
    ]


def _branch(stages: Sequence[Stage]) -> Stage | None:
    """FP16 without quantisation, where the chain quantises first and converts then."""
    for quantised, converted in itertools.pairwise(stages):
        if (quantised.cause, converted.cause) == ("quantisation", "precision conversion"):
            made = quantised.made
            if isinstance(made, Requantised):
                floats = _floats_of(made.manifest)
                return Stage(
                    name=f"{floats} onnx, not quantised",
                    cause="precision conversion",
                    made=InHalf(network=made.network, precision=floats),
                )
    return None


def _quantising_causes(manifest: Manifest) -> list[str]:
    """What `quantize` did, in its order."""
    causes = ["quantisation"]
    causes += ["precision conversion"] if _floats_of(manifest) is not Precision.FP32 else []
    return [*causes, *(["refinement"] if manifest.options["refine"] is not None else [])]


def _floats_of(manifest: Manifest) -> Precision:
    return Precision(manifest.options["float_precision"])


def _name_of(file: Path, manifest: Manifest | None) -> str:
    return f"{_precision_of(file, manifest)} onnx"


def _precision_of(file: Path, manifest: Manifest | None) -> Precision:
    if manifest is not None and manifest.precision is not None:
        return manifest.precision
    from resnet_deploy.engine.onnx_file import onnx_precision
    from resnet_deploy.graph.external_data import read_onnx_with_data

    return onnx_precision(read_onnx_with_data(file)[0])


def _cause_of(stage: Stage, manifest: Manifest | None) -> str:
    """All that may stand between an FP32 ONNX file and a file whose own origin is not known."""
    is_engine = stage.file.suffix == ".engine"
    if stage.cause and not is_engine:
        return stage.cause
    precision = manifest.precision if is_engine and manifest else None
    if not is_engine:
        precision = _precision_of(stage.file, manifest)
    causes = {
        Precision.FP32: [] if is_engine else ["export"],
        Precision.FP16: ["precision conversion"],
        Precision.BF16: ["precision conversion"],
    }.get(precision, ["quantisation", "precision conversion"])
    return " + ".join([*causes, *(["engine"] if is_engine else [])])
