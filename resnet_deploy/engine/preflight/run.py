"""Will the files of a bundle run here: asked before they are, of bytes and manifests, without any NVIDIA library.

Nothing is deserialised and no package of a runtime is imported, with one exception: where there is a GPU and
TensorRT-RTX's Python package, that is asked for its opinion of each header.
"""

from __future__ import annotations

__all__ = ["FileAnswer", "Preflight", "PreflightOptions", "run_preflight"]

import importlib.util
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError, ResnetDeployError
from resnet_deploy.core.files import content_file
from resnet_deploy.engine.cuda_driver import CudaDriver, query_cuda_driver
from resnet_deploy.engine.header import HEADER_BYTES, foreign_format
from resnet_deploy.engine.preflight.bundle_listing import BUNDLE_FILE, read_listing
from resnet_deploy.engine.preflight.check import Check, State
from resnet_deploy.engine.preflight.collect import collect_files, is_manifest
from resnet_deploy.engine.preflight.compatibility import (
    BuiltFor,
    PossibleGpu,
    built_for,
    check_driver,
    check_gpu,
    check_library,
    check_memory,
    check_platform,
    parse_gpu,
)
from resnet_deploy.engine.preflight.installed import InstalledProduct, find_installed, probe_library
from resnet_deploy.engine.preflight.integrity import check_header, check_manifest, check_weights_file
from resnet_deploy.engine.preflight.rebuild import rebuild_command
from resnet_deploy.engine.preflight.validity import ask_runtime

_ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
_REMEDIES = {  # by the subject of the check that failed
    "manifest": "copy it again, with its manifest, from where it was made",
    "weights": "copy the ONNX file to it",
    "GPU": "take an engine built for that GPU",
    "library": "install the release it needs",
    "driver": "update the driver",
    "memory": "take a GPU with more memory",
    "platform": "build it on such a machine",
    "runtime": "install the release and the driver it needs",
    "sanity gate": "do not ship it; `resnet-deploy sanity` shows what is wrong",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PreflightOptions:
    """What to look at, and for which machine.

    Attributes:
        files: Names, folders and patterns.
        asked_for: GPUs of another machine ("sm89", "8.9"); empty asks after this one.
        libraries: Library files of the application to take the product's version from; empty looks for the Python
            package and on the loader's path.
        any_engine: One engine that fits is enough, of a bundle with one for each GPU; nothing may be damaged.
    """

    files: tuple[Path | str, ...]
    asked_for: tuple[str, ...] = ()
    libraries: tuple[Path, ...] = ()
    any_engine: bool = False

    def __post_init__(self) -> None:
        for text in self.asked_for:
            parse_gpu(text)
        if self.asked_for and self.libraries:
            raise ConfigError(
                "GPUs of another machine were asked for, and a library of this one was named",
                remedy="leave one of the two away",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class FileAnswer:
    """What was found of one file.

    Attributes:
        kind: "engine", what its manifest says ("onnx", "verdict", ...), "onnx", "manifest" (of a file that is not
            here) or "unknown".
        product: Of an engine whose header could be read: "tensorrt" or "tensorrt-rtx".
        rebuild: The command that makes an engine that would fit; empty where none is needed or known.
    """

    file: str
    kind: str
    checks: tuple[Check, ...]
    product: str = ""
    rebuild: str = ""

    @property
    def state(self) -> State:
        """The worst failed check; GOOD where none failed and one at least was made."""
        states = {check.state for check in self.checks}
        return next((s for s in (State.DAMAGED, State.MISFIT, State.GOOD) if s in states), State.NOT_CHECKED)

    @property
    def remedy(self) -> str:
        """What to do other than build again; empty where nothing failed."""
        failed = next((check.subject for check in self.checks if check.state is self.state and self.state.failed), "")
        if self.state is State.DAMAGED:
            return "copy it again, with its manifest, from where it was made"
        return next((text for start, text in _REMEDIES.items() if failed.startswith(start)), "")

    @property
    def not_checked(self) -> tuple[str, ...]:
        """Subjects of the checks that could not be made."""
        return tuple(check.subject for check in self.checks if check.state is State.NOT_CHECKED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preflight:
    """The answers, and the machine they hold for.

    Attributes:
        asked_for: GPUs of another machine that were asked for; empty where this machine was.
        gpus: GPUs the engines were checked against.
        driver: NVIDIA's driver here; None where another machine was asked after.
        installed: Installations of the products the engines need.
        any_engine: One engine that fits is enough.
    """

    files: tuple[FileAnswer, ...]
    asked_for: tuple[str, ...]
    gpus: tuple[PossibleGpu, ...]
    driver: CudaDriver | None
    installed: tuple[InstalledProduct, ...]
    any_engine: bool = False

    @property
    def passed(self) -> bool:
        """Nothing is damaged, and nothing does not fit: no file, or where any will do, not every engine."""
        return not self.failed

    @property
    def failed(self) -> tuple[FileAnswer, ...]:
        """The files for which it is not passed."""
        failed = [answer for answer in self.files if answer.state.failed]
        engines = [answer for answer in self.files if answer.kind == "engine"]
        if self.any_engine and any(not answer.state.failed for answer in engines):
            failed = [one for one in failed if one.kind != "engine" or one.state is State.DAMAGED]
        return tuple(failed)

    @property
    def lacks_gpu(self) -> bool:
        """The GPUs of this machine were to be asked, and there is none."""
        return not self.asked_for and not self.gpus


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where the files are to run; `driver` is None for another machine, whose libraries are not known."""

    gpus: tuple[PossibleGpu, ...]
    driver: CudaDriver | None
    libraries: tuple[InstalledProduct, ...] | None = None

    def installed(self, product: str) -> tuple[InstalledProduct, ...]:
        if self.libraries is None:
            return find_installed(product)
        return tuple(one for one in self.libraries if one.product == product)


def run_preflight(options: PreflightOptions) -> Preflight:
    """Answer for every file.

    Raises:
        ArtifactError: A path that is not there, or no file among them that can be checked.
        ConfigError: A library that is none.
    """
    files = collect_files(options.files)
    place = _place(options)
    answers = tuple(_answer_for(file, place) for file in files)
    if all(answer.kind == "unknown" for answer in answers):
        names = ", ".join(answer.file for answer in answers[:5])
        raise ArtifactError(
            f"nothing to check in {names}{', ...' if len(answers) > 5 else ''}: no engine, no ONNX file, and none has "
            "a manifest",
            remedy="give engines (.engine), or files that resnet-deploy made, each with its .json",
        )
    products = dict.fromkeys(answer.product for answer in answers if answer.product)
    return Preflight(
        files=answers,
        asked_for=options.asked_for,
        gpus=place.gpus,
        driver=place.driver,
        installed=tuple(one for product in products for one in place.installed(product)) if place.driver else (),
        any_engine=options.any_engine,
    )


def _place(options: PreflightOptions) -> _Place:
    if options.asked_for:
        return _Place(gpus=tuple(map(parse_gpu, options.asked_for)), driver=None)
    driver = query_cuda_driver()
    gpus = tuple(
        PossibleGpu(sm=int(gpu.compute_capability.replace(".", "")), name=gpu.name, memory_bytes=gpu.memory_bytes)
        for gpu in driver.gpus
    )
    libraries = tuple(map(probe_library, options.libraries)) or None
    return _Place(gpus=gpus, driver=driver, libraries=libraries)


def _answer_for(file: Path, place: _Place) -> FileAnswer:
    try:
        if _is_engine(file):
            return _engine_answer(file, place)
        return _other_answer(file, here=place.driver is not None)
    except (ResnetDeployError, OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "message", None) or getattr(error, "strerror", None) or str(error)
        check = Check(subject="file", state=State.DAMAGED, text=f"can not be read: {reason}")
        return FileAnswer(file=str(file), kind="engine" if file.suffix in _ENGINE_SUFFIXES else "file", checks=(check,))


def _is_engine(file: Path) -> bool:
    if file.suffix in _ENGINE_SUFFIXES:
        return True
    with open(file, "rb") as stream:
        return stream.read(4) in (b"ftrt", b"vtrt")


def _engine_answer(file: Path, place: _Place) -> FileAnswer:
    header, whole = check_header(file)
    manifest, belongs = check_manifest(file, header)
    checks = [whole, belongs]
    if header is None or belongs.state is State.DAMAGED:
        rebuild = _rebuild(file, manifest, place)
        product = header.product if header is not None else ""
        return FileAnswer(file=str(file), kind="engine", checks=tuple(checks), product=product, rebuild=rebuild)
    details = manifest.details if manifest is not None else {}
    built = built_for(header, details)
    if details.get("stripped"):
        checks.append(check_weights_file(file, manifest))
    checks += _gpu_checks(built, place)
    if place.driver is not None:
        checks += _machine_checks(file, built, place)
    if (sanity := _sanity_check(manifest)) is not None:
        checks.append(sanity)
    rebuild = _rebuild(file, manifest, place) if any(check.state.failed for check in checks) else ""
    return FileAnswer(file=str(file), kind="engine", checks=tuple(checks), product=header.product, rebuild=rebuild)


def _rebuild(file: Path, manifest: Manifest | None, place: _Place) -> str:
    """For the GPUs that were asked for; where it was built for those, exactly as it was."""
    built_for = manifest.details.get("targets") if manifest is not None else None
    named = isinstance(built_for, list) and all(f"sm{gpu.sm}" in built_for for gpu in place.gpus)
    return rebuild_command(file, manifest, sms=() if named else tuple(gpu.sm for gpu in place.gpus))


def _gpu_checks(built: BuiltFor, place: _Place) -> list[Check]:
    """One check for each GPU; of several GPUs here one that fits is enough, of several asked for all must."""
    if not place.gpus:
        runs_on = ", ".join(f"sm{sm}" for sm in built.targets) or str(built.gpu or "the GPU it was built on")
        reason = place.driver.reason if place.driver is not None else ""
        return [Check(subject="GPU", state=State.NOT_CHECKED, text=f"it runs on {runs_on}; {reason}")]
    checks = [check_gpu(built, gpu) for gpu in place.gpus]
    return checks if place.driver is None else _enough(checks)


def _enough(checks: list[Check]) -> list[Check]:
    """Of checks of which one that is good suffices, those that are; all where none is."""
    return [check for check in checks if check.state is State.GOOD] or checks


def _machine_checks(file: Path, built: BuiltFor, place: _Place) -> list[Check]:
    installed = place.installed(built.product)
    checks = [check_library(built, installed), check_driver(installed, place.driver.version)]
    usable = [gpu for gpu in place.gpus if not check_gpu(built, gpu).state.failed]
    if (of_platform := check_platform(built, f"{platform.system()} {platform.machine()}")) is not None:
        checks.append(of_platform)
    checks += _enough([check for gpu in usable if (check := check_memory(built, gpu)) is not None])
    if usable and usable[0] is place.gpus[0]:  # the runtime speaks of the first GPU alone
        with open(file, "rb") as stream:
            opinion = ask_runtime(built.product, stream.read(HEADER_BYTES))
        checks += [opinion] if opinion is not None else []
    return checks


def _sanity_check(manifest: Manifest | None) -> Check | None:
    """What the sanity gate made of the engine when it was built; None where the manifest does not say."""
    record = manifest.details.get("sanity") if manifest is not None else None
    if not isinstance(record, dict) or "state" not in record:
        return None
    state = {"passed": State.GOOD, "failed": State.MISFIT}.get(record["state"], State.NOT_CHECKED)
    reason = f": {record['reason']}" if record.get("reason") else ""
    return Check(subject="sanity gate", state=state, text=f"{record['state']} when it was built{reason}")


def _other_answer(file: Path, *, here: bool) -> FileAnswer:
    if is_manifest(file) and not content_file(file.with_suffix("")).is_file():
        text = f"it is the manifest of {file.with_suffix('').name}, which is not here"
        return FileAnswer(
            file=str(file), kind="manifest", checks=(Check(subject="file", state=State.DAMAGED, text=text),)
        )
    with open(file, "rb") as stream:
        looks = foreign_format(stream.read(64))
    manifest, belongs = check_manifest(file)
    if file.name == BUNDLE_FILE and (listing := read_listing(file.parent)) is not None:
        return _bundle_answer(file, listing.missing, belongs)
    if file.suffix == ".onnx" and looks:
        wrong = Check(subject="file", state=State.DAMAGED, text=f"it is no ONNX file, but looks like {looks}")
        return FileAnswer(file=str(file), kind="onnx", checks=(wrong, belongs))
    if file.suffix == ".onnx":
        checks = (belongs, _fallback_check()) if here and not belongs.state.failed else (belongs,)
        return FileAnswer(file=str(file), kind="onnx", checks=checks)
    if manifest is None and belongs.state is State.NOT_CHECKED:
        return FileAnswer(file=str(file), kind="unknown", checks=(belongs,))
    return FileAnswer(file=str(file), kind=manifest.kind if manifest is not None else "file", checks=(belongs,))


def _bundle_answer(file: Path, missing: tuple[str, ...], belongs: Check) -> FileAnswer:
    """Of the list of a bundle's files; those that it has and that are not there are its damage."""
    lost = Check(subject="files", state=State.DAMAGED, text=f"not there: {', '.join(missing)}")
    return FileAnswer(file=str(file), kind="bundle", checks=(lost,) if missing else (belongs,))


def _fallback_check() -> Check:
    """Whether an ONNX file could run here in place of an engine."""
    if importlib.util.find_spec("onnxruntime") is None:
        text = "as a fallback it needs ONNX Runtime (`pip install onnxruntime`), which is not here"
        return Check(subject="fallback", state=State.NOT_CHECKED, text=text)
    version = next((f" {text}" for name in ("onnxruntime", "onnxruntime-gpu") if (text := _version(name))), "")
    return Check(
        subject="fallback", state=State.GOOD, text=f"ONNX Runtime{version} is here to run it in place of an engine"
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
