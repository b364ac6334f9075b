"""What --target names: a GPU of the catalogue, the processor, or whatever this machine has."""

from __future__ import annotations

__all__ = ["CPU", "HERE", "AdvisorTarget", "find_target"]

from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.bench.advisor.measured import MeasuredRun
from resnet_deploy.bench.machine.environment import capture_environment
from resnet_deploy.bench.roofline.catalogue import Gpu, load_catalogue
from resnet_deploy.core.errors import ConfigError

HERE, CPU = "here", "cpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvisorTarget:
    """Where the network shall run.

    Attributes:
        name: As asked for. `title`: for a person.
        gpu: Its entry of the catalogue, with which a bound can be computed; None for a processor.
        processor: Only runs on this processor count; empty takes any. Of no matter for a GPU.
        power_limit_w: That is set on the GPU of this machine; None for any other, which has the catalogue's.
    """

    name: str
    title: str
    gpu: Gpu | None = None
    processor: str = ""
    power_limit_w: float | None = None

    @property
    def watts(self) -> float | None:
        """The most that the board draws; None where it is not known."""
        return self.power_limit_w or (self.gpu.watts.value if self.gpu else None)

    def has_run(self, run: MeasuredRun) -> bool:
        """Whether `run` was measured on this target."""
        if self.gpu is not None:
            return run.device.casefold() in {name.casefold() for name in self.gpu.device_names}
        return run.device == "cpu" and self.processor in ("", run.cpu)


def find_target(name: str, *, catalogue: Path | None = None) -> AdvisorTarget:
    """The target of that name: "here", "cpu", or a GPU of the catalogue.

    Args:
        catalogue: A file with GPUs of the user's own.
    Raises:
        ConfigError: No such GPU; or the GPU here is none, or more than one, of the catalogue.
    """
    if name == CPU:
        return AdvisorTarget(name=name, title="the processor")
    if name != HERE:
        gpu = load_catalogue(catalogue).find(name)
        return AdvisorTarget(name=name, title=gpu.title, gpu=gpu)
    machine = capture_environment()
    if not machine.gpus:
        return AdvisorTarget(name=name, title=machine.cpu, processor=machine.cpu)
    device = machine.gpus[0].name
    found = load_catalogue(catalogue).find_device(device)
    if len(found) != 1:
        names = ", ".join(gpu.name for gpu in found) or "none"
        raise ConfigError(
            f"the GPU here calls itself {device!r}; entries of the catalogue that may be it: {names}",
            remedy="name it with --target, describe it with --catalogue FILE.toml, or ask for --target cpu",
        )
    return AdvisorTarget(name=name, title=found[0].title, gpu=found[0], power_limit_w=machine.gpus[0].power_limit_w)
