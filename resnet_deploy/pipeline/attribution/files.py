"""Files of a chain that nobody kept: made again by the stages that would have written them."""

from __future__ import annotations

__all__ = ["FromCheckpoint", "InHalf", "Made", "Requantised"]

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from resnet_deploy.core.artifacts import Manifest, read_manifest, write_manifest
from resnet_deploy.core.progress import Progress
from resnet_deploy.core.specs import Precision, UnsignedRelu


class Made(Protocol):
    """A file that can be made."""

    @property
    def name(self) -> str:
        """File name to make it under."""

    @property
    def how(self) -> str:
        """In words."""

    def make(self, folder: Path, progress: Progress) -> Path:
        """Make it, with its manifest; raises ResnetDeployError as the stage does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FromCheckpoint:
    """The FP32 ONNX file of a checkpoint."""

    checkpoint: Path

    @property
    def name(self) -> str:
        return f"{self.checkpoint.stem}.fp32.onnx"

    @property
    def how(self) -> str:
        return f"export of {self.checkpoint.name}"

    def make(self, folder: Path, progress: Progress) -> Path:
        from resnet_deploy.export.onnx_export import ExportOptions, export_onnx

        return export_onnx(ExportOptions(checkpoint=self.checkpoint, out=folder / self.name), progress).file


@dataclass(frozen=True, kw_only=True, slots=True)
class Requantised:
    """A quantised file again, with the options of its manifest, without refinement and with other floats.

    Attributes:
        network: The FP32 file it was made from; or how that was made, in the same folder, before.
        table: Its scales, which are refused where the network is not the one they were measured on.
        manifest: Of the file as it was delivered.
    """

    network: Path | FromCheckpoint
    table: Path
    manifest: Manifest
    floats: Precision

    @property
    def name(self) -> str:
        return f"{self.network.name.removesuffix('.onnx')}.{self.manifest.precision}-{self.floats}.onnx"

    @property
    def how(self) -> str:
        return f"quantize of {self.network.name} with {self.table.name}, --float {self.floats}, not refined"

    def make(self, folder: Path, progress: Progress) -> Path:
        from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx

        asked = self.manifest.options
        options = QuantizeOptions(
            onnx=_file_of(self.network, folder),
            table=self.table,
            precision=self.manifest.precision,
            float_precision=self.floats,
            exclude=tuple(asked["exclude"]),
            keep_float=tuple(asked["keep_float"]),
            exact_input=asked["exact_input"],
            unsigned_relu=UnsignedRelu(asked["unsigned_relu"]),
            out=folder / self.name,
        )
        return quantize_onnx(options, progress).file


@dataclass(frozen=True, kw_only=True, slots=True)
class InHalf:
    """An FP32 ONNX file in FP16 or BF16.

    Attributes:
        network: As in `Requantised`.
    """

    network: Path | FromCheckpoint
    precision: Precision

    @property
    def name(self) -> str:
        return f"{self.network.name.removesuffix('.onnx')}.{self.precision}.onnx"

    @property
    def how(self) -> str:
        return f"{self.network.name} with {str(self.precision).upper()} floats"

    def make(self, folder: Path, progress: Progress) -> Path:
        from resnet_deploy.graph.files import write_onnx
        from resnet_deploy.quant.network import read_network
        from resnet_deploy.quant.prepare import FLOAT_PRECISIONS

        file, source = folder / self.name, _file_of(self.network, folder)
        manifest = read_manifest(source, kind="onnx")
        network = read_network(source, manifest)
        half = FLOAT_PRECISIONS[self.precision](network.model)
        network.complete(half)
        write_onnx(half, file)
        write_manifest(
            file,
            kind="onnx",
            stage=manifest.stage,
            inputs={"onnx": source},
            parent=manifest,
            precision=self.precision,
            details=manifest.details,
        )
        return file


def _file_of(network: Path | FromCheckpoint, folder: Path) -> Path:
    return network if isinstance(network, Path) else folder / network.name
