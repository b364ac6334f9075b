"""Build options as a product's builder configuration has them; what one of its versions lacks is an error."""

from __future__ import annotations

__all__ = ["configure", "load_timing_cache", "save_timing_cache"]

from pathlib import Path
from types import ModuleType
from typing import Any

from resnet_deploy.core.errors import ArtifactError, ConfigError, EngineBuildError, MissingDependencyError
from resnet_deploy.core.files import atomic_write
from resnet_deploy.engine.building.options import BuildOptions, HardwareCompatibility


def configure(trt: ModuleType, builder: Any, config: Any, options: BuildOptions) -> None:
    """Set every option on `config`.

    Raises:
        ConfigError: This version has no such option; names the version.
        MissingDependencyError: No such DLA core here.
        EngineBuildError: The product does not take a target.
    """
    if hasattr(config, "profiling_verbosity"):
        # names, types and formats of all layers stay readable in the engine; measured with TensorRT-RTX: one byte
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.pin_timing_cache:
        config.set_flag(_member(trt, trt.BuilderFlag, "ERROR_ON_TIMING_CACHE_MISS", "pinned timing cache"))
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.strip:
        config.set_flag(_member(trt, trt.BuilderFlag, "STRIP_PLAN", "engines without weights"))
    if options.refit:
        config.set_flag(_member(trt, trt.BuilderFlag, "REFIT", "refitting"))
    elif options.strip:
        # the weights that come back are those left out, so kernels may be chosen for their values
        config.set_flag(_member(trt, trt.BuilderFlag, "REFIT_IDENTICAL", "refitting the same weights"))
    if options.version_compatible:
        config.set_flag(_member(trt, trt.BuilderFlag, "VERSION_COMPATIBLE", "version-compatible engines"))
    if options.hardware_compatibility is not HardwareCompatibility.NONE:
        levels = _member(trt, trt, "HardwareCompatibilityLevel", "hardware compatibility")
        name = options.hardware_compatibility.value.replace("-", "_").upper()
        what = f"hardware compatibility {options.hardware_compatibility}"
        config.hardware_compatibility_level = _member(trt, levels, name, what)
    if options.dla_core is not None:
        _use_dla(trt, builder, config, options.dla_core)
    _set_targets(trt, config, options.targets)


def _member(trt: ModuleType, owner: Any, name: str, what: str) -> Any:
    member = getattr(owner, name, None)
    if member is None:
        raise ConfigError(f"{trt.__name__} {trt.__version__} has no {what}", remedy="leave the option away")
    return member


def _use_dla(trt: ModuleType, builder: Any, config: Any, core: int) -> None:
    cores = getattr(builder, "num_DLA_cores", 0)
    if core >= cores:
        raise MissingDependencyError(
            f"DLA core {core} is asked for, {trt.__name__} {trt.__version__} finds {cores} here",
            remedy="build on a Jetson Orin with a release that serves its DLA (10.x up to 10.7, 11.4.1 with JetPack 7.2.2)",
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _set_targets(trt: ModuleType, config: Any, targets: tuple[str, ...]) -> None:
    if not targets or not hasattr(config, "set_compute_capability"):
        return
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        name = target.upper()  # "sm86" -> SM86, "current" -> CURRENT
        if not config.set_compute_capability(getattr(trt.ComputeCapability, name), index):
            raise EngineBuildError(f"{trt.__name__} {trt.__version__} does not take {target} as target {index + 1}")


def load_timing_cache(config: Any, options: BuildOptions) -> Any:
    """The cache the builder will use; None where there is none to use.

    Raises:
        ArtifactError: A pinned cache is not there, or the product can not read it.
    """
    file = options.timing_cache
    if file is None:
        return None
    is_there = Path(file).is_file()
    if options.pin_timing_cache and not is_there:
        raise ArtifactError(f"{file}: no such timing cache to pin", remedy="build once without pinning; that writes it")
    cache = config.create_timing_cache(Path(file).read_bytes() if is_there else b"")
    if cache is None or config.set_timing_cache(cache, False) is False:
        raise ArtifactError(
            f"{file} is not a timing cache of this product, version and GPU", remedy="delete it, or name another file"
        )
    return cache


def save_timing_cache(config: Any, file: Path) -> None:
    """Write what the builder has measured, beside what was there."""
    with atomic_write(file) as partial:
        partial.write_bytes(bytes(config.get_timing_cache().serialize()))
