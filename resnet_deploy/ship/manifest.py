"""`bundle.json`: what a bundle says of itself, as dataclasses, and the rules that every one of them keeps.

The format is written down in docs/reference/bundle.md; the C++ library reads the same.
"""

from __future__ import annotations

__all__ = [
    "BUNDLE_SCHEMA",
    "MANIFEST_FILE",
    "MAX_FILES",
    "MAX_MODELS",
    "SIGNATURE_BYTES",
    "SIGNATURE_FILE",
    "BundleFile",
    "BundleManifest",
    "BundleModel",
    "BundleNet",
    "BundlePreprocess",
    "BundleTensor",
    "Golden",
    "SelfTest",
]

import re
from dataclasses import dataclass

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import OutputKind, Precision, Preprocess
from resnet_deploy.ship.manifest_rules import created_problems, path_problem, refuse, text_problems

BUNDLE_SCHEMA = "resnet-deploy/bundle/1"
MANIFEST_FILE = "bundle.json"
SIGNATURE_FILE = "bundle.sig"
SIGNATURE_BYTES = 64
MAX_FILES, MAX_MODELS = 256, 64
_MAX_CLASSES, _MAX_SIDE_PX, _MAX_BATCH = 100_000, 16_384, 65_536
_MAX_SIZE_BYTES = 2**40
_MAX_MEAN, _MIN_STD, _MAX_VALUE = 1e6, 1e-6, 3.4e38
_MAX_MADE_BY = 64
_SHA256 = re.compile("[0-9a-f]{64}")
_VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){2,3}")
_CAPABILITY = re.compile(r"\d{1,2}\.\d")
_PRODUCTS = {"engine": ("tensorrt", "tensorrt-rtx"), "onnx": ("",)}
_OUTPUTS = (OutputKind.LOGITS, OutputKind.SOFTMAX, OutputKind.FEATURES)


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleFile:
    """A file of the bundle.

    Attributes:
        path: Relative to the bundle, with "/".
        sha256: Lower-case hexadecimal.
    """

    path: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        problems = []
        if problem := path_problem(self.path):
            problems.append(f"path {self.path[:80]!r}: {problem}")
        if self.path.lower() in (MANIFEST_FILE, SIGNATURE_FILE):
            problems.append(f"{self.path} is not listed among the files: its own hash can not be in it")
        if not _SHA256.fullmatch(self.sha256):
            problems.append(f"{self.path[:80]}: sha256 {self.sha256[:80]!r} is not 64 hexadecimal digits")
        if not 0 <= self.size_bytes < _MAX_SIZE_BYTES:
            problems.append(f"{self.path[:80]}: {self.size_bytes:.20g} bytes, expected 0 or more and less than 2^40")
        refuse(problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleNet:
    """Attributes:
    num_classes: 0 where the output is features.
    output: "logits", "softmax" or "features".
    """

    name: str
    num_classes: int
    output: OutputKind

    def __post_init__(self) -> None:
        problems = text_problems(name=self.name)
        if self.output not in _OUTPUTS:
            problems.append(f"output {self.output} can not be in a bundle, only {', '.join(_OUTPUTS)}")
        least = 0 if self.output is OutputKind.FEATURES else 1
        most = 0 if self.output is OutputKind.FEATURES else _MAX_CLASSES
        if not least <= self.num_classes <= most:
            problems.append(f"{self.num_classes:.20g} classes, expected {least} to {most} for {self.output}")
        refuse(problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class BundlePreprocess:
    """The pixel contract, see docs/reference/preprocess.md.

    Attributes:
        resize_shorter_px: 0 leaves the image as it is.
        mean, std: Per channel, RGB, in units of pixel / 255.
    """

    version: int
    height_px: int
    width_px: int
    resize_shorter_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        sides = (self.height_px, self.width_px, self.resize_shorter_px or 1)
        problems = []
        if max(sides) > _MAX_SIDE_PX or min(sides) < 1:
            problems.append(f"sides of {', '.join(f'{side:.20g}' for side in sides)} px, expected 1 to {_MAX_SIDE_PX}")
        if not all(abs(value) <= _MAX_MEAN for value in self.mean):
            problems.append(f"mean {self.mean}, expected at most {_MAX_MEAN:g} either way")
        if not all(_MIN_STD <= value <= _MAX_MEAN for value in self.std):
            problems.append(f"std {self.std}, expected {_MIN_STD:g} to {_MAX_MEAN:g}")
        refuse([f"preprocess: {problem}" for problem in problems])
        self.spec()  # its own rules hold, too

    def spec(self) -> Preprocess:
        """As the rest of the program has it."""
        return Preprocess(
            version=self.version,
            height_px=self.height_px,
            width_px=self.width_px,
            resize_shorter_px=self.resize_shorter_px or None,
            mean=self.mean,
            std=self.std,
        )

    @classmethod
    def of(cls, spec: Preprocess) -> BundlePreprocess:
        """As a bundle has it."""
        return cls(
            version=spec.version,
            height_px=spec.height_px,
            width_px=spec.width_px,
            resize_shorter_px=spec.resize_shorter_px or 0,
            mean=spec.mean,
            std=spec.std,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleTensor:
    """An input or output; `shape` holds -1 where any size is taken."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        problems = text_problems(name=self.name)
        if self.dtype not in ("float32", "uint8"):
            problems.append(f"{self.name[:40]}: dtype {self.dtype[:40]!r}, expected float32 or uint8")
        if len(self.shape) not in (2, 4) or self.shape[0] not in (-1, 1):
            problems.append(f"{self.name[:40]}: shape must have 2 or 4 sizes, the first -1 (any batch) or 1")
        refuse(problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTest:
    """What a model answers to the golden image.

    Attributes:
        expected: Its output at batch 1.
        max_abs_error: What an element may differ by.
        measured_on: The runtime that gave `expected`.
    """

    expected: tuple[float, ...]
    max_abs_error: float
    measured_on: str

    def __post_init__(self) -> None:
        problems = text_problems(measured_on=self.measured_on)
        if not self.expected or not all(abs(value) <= _MAX_VALUE for value in self.expected):
            problems.append("expected must hold values, all finite in float32")
        if not 0 < self.max_abs_error <= _MAX_VALUE:
            problems.append(f"max_abs_error is {self.max_abs_error:g}, expected a positive number")
        refuse(problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleModel:
    """One form of the network.

    Attributes:
        format: "engine" or "onnx".
        product, version: Of an engine: "tensorrt" or "tensorrt-rtx", and the release that built it; else empty.
        compute_capabilities: Of the GPUs an engine was built for, e.g. "8.6"; empty where it does not say.
        hardware_compatible: It may run on other GPUs than these.
        max_batch: Largest batch of one pass; 0 for no limit.
    """

    path: str
    format: str
    product: str
    version: str
    precision: Precision
    compute_capabilities: tuple[str, ...]
    hardware_compatible: bool
    input: BundleTensor
    output: BundleTensor
    max_batch: int
    self_test: SelfTest

    def __post_init__(self) -> None:
        problems = []
        if self.format not in _PRODUCTS:
            problems.append(f"format {self.format[:40]!r}, expected engine or onnx")
        elif self.product not in _PRODUCTS[self.format]:
            problems.append(f"product {self.product[:40]!r} of format {self.format}")
        if not (_VERSION.fullmatch(self.version) if self.format == "engine" else self.version == ""):
            problems.append(f"version {self.version[:40]!r}: an engine has three or four numbers, ONNX none")
        if len(self.compute_capabilities) > 64 or not all(map(_CAPABILITY.fullmatch, self.compute_capabilities)):
            problems.append(f"compute capabilities {self.compute_capabilities[:4]}, expected e.g. 8.6")
        if not 0 <= self.max_batch <= _MAX_BATCH:
            problems.append(f"max_batch {self.max_batch:.20g}, expected 0 to {_MAX_BATCH}")
        refuse([f"{self.path[:80]}: {problem}" for problem in problems])

    @property
    def takes_pixels(self) -> bool:
        """Whether the pixel contract is in the graph: the input is uint8 [N, H, W, 3] of any size."""
        return self.input.dtype == "uint8"


@dataclass(frozen=True, kw_only=True, slots=True)
class Golden:
    """Attributes:
    image: Path of the golden image.
    pixels_sha256: Of its resized, cropped pixels, uint8 [H, W, 3].
    """

    image: str
    pixels_sha256: str

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.pixels_sha256):
            refuse([f"golden: pixels_sha256 {self.pixels_sha256[:80]!r} is not 64 hexadecimal digits"])


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleManifest:
    """The whole of `bundle.json`.

    Attributes:
        name: As a part of a path; the top folder of an archive.
        version: The user's.
        created: UTC, ISO 8601.
        made_by: Version of every package that had a part in it.
        labels: Path of the class names, one a line; null where there are none.
        licences: Path of the licence notes.
        files: Every file but `bundle.json` and `bundle.sig`.
        models: In order of preference.
    """

    schema: str
    name: str
    version: str
    created: str
    made_by: dict[str, str]
    net: BundleNet
    preprocess: BundlePreprocess
    labels: str | None
    golden: Golden
    licences: str
    files: tuple[BundleFile, ...]
    models: tuple[BundleModel, ...]

    def __post_init__(self) -> None:
        if self.schema != BUNDLE_SCHEMA:
            raise ConfigError(
                f"schema is {self.schema[:80]!r}, expected {BUNDLE_SCHEMA!r}",
                remedy="read it with the release of resnet-deploy that made it, or make it again",
            )
        problems = text_problems(version=self.version, **{f"made_by {k[:40]!r}": v for k, v in self.made_by.items()})
        if len(self.made_by) > _MAX_MADE_BY or any(len(text) > 200 for pair in self.made_by.items() for text in pair):
            problems.append(f"made_by has {len(self.made_by)} entries, at most {_MAX_MADE_BY} of 200 characters may be")
        if "/" in self.name or path_problem(self.name):
            problems.append(f"name {self.name[:80]!r} must be of A-Z a-z 0-9 . _ - and not begin with a dot")
        problems += created_problems(self.created) + self._file_problems()
        refuse(problems)
        for model in self.models:
            refuse([f"{model.path}: {problem}" for problem in self._model_problems(model)])

    def file(self, path: str) -> BundleFile:
        """The entry of that path; KeyError where there is none."""
        return {entry.path: entry for entry in self.files}[path]

    def _file_problems(self) -> list[str]:
        paths = [entry.path for entry in self.files]
        problems = []
        if len(paths) > MAX_FILES or not 0 < len(self.models) <= MAX_MODELS:
            problems.append(f"{len(paths)} files and {len(self.models)} models, at most {MAX_FILES} and {MAX_MODELS}")
        if twice := sorted({path for path in paths if [p.lower() for p in paths].count(path.lower()) > 1}):
            problems.append(f"{twice[0]!r} is listed more than once, or differs from another in case only")
        models = [model.path for model in self.models]
        if len(set(models)) < len(models):
            problems.append("a model is listed more than once")
        named = [*models, self.golden.image, self.licences, *([self.labels] if self.labels is not None else [])]
        problems += [f"{path[:80]!r} is not listed among the files" for path in named if path not in paths]
        if self.labels is not None and self.net.output is OutputKind.FEATURES:
            problems.append("labels of a network whose output is features")
        return problems

    def _model_problems(self, model: BundleModel) -> list[str]:
        pixels = self.preprocess
        sides = (-1, -1, 3) if model.takes_pixels else (3, pixels.height_px, pixels.width_px)
        problems = []
        if model.input.shape[1:] != sides:
            problems.append(f"input {model.input.dtype} {list(model.input.shape)}, expected [N, {sides}]")
        wanted = min(self.net.num_classes or model.output.shape[-1], _MAX_CLASSES)
        if model.output.dtype != "float32" or len(model.output.shape) != 2 or model.output.shape[1] != wanted:
            problems.append(f"output {model.output.dtype} {list(model.output.shape)}, expected float32 [N, {wanted}]")
        if model.input.shape[0] != model.output.shape[0]:
            problems.append(f"a batch of {model.input.shape[0]} goes in, {model.output.shape[0]} come out")
        if len(model.self_test.expected) != wanted:
            problems.append(f"{len(model.self_test.expected)} expected values, its output has {wanted}")
        return problems
