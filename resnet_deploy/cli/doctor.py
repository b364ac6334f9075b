"""`resnet-deploy doctor`: what this machine can do."""

from __future__ import annotations

__all__ = ["command"]

import typer

from resnet_deploy.cli.options import JSON
from resnet_deploy.cli.render import note, print_data, print_json, table
from resnet_deploy.core.errors import ExitCode


def command(json: JSON = False) -> None:
    """Say what this machine can do, and what to install for the rest."""
    from resnet_deploy.engine.machine import examine_machine

    machine = examine_machine()
    if json:
        print_json(machine)
    else:
        print_data(table("This machine", ("what", "value"), _machine_rows(machine), left=2))
        if machine.capabilities:
            rows = ((c.name, "yes" if c.available else "no", c.detail, c.install) for c in machine.capabilities)
            print_data(table("What it can do", ("to do", "", "how, or why not", "install"), rows, left=4))
    if machine.missing:
        for problem in machine.missing:
            note(f"required package missing: {problem}")
        note("remedy: pip install resnet-deploy")
        raise typer.Exit(ExitCode.MISSING)


def _machine_rows(machine):
    gib = 2**30
    yield "system", f"{machine.system}, Python {machine.python}"
    yield "processors", machine.cpu_count
    yield "memory", f"{machine.memory_bytes / gib:.1f} GiB" if machine.memory_bytes else "not known"
    yield "free disk here", f"{machine.disk_free_bytes / gib:.1f} GiB"
    yield "CUDA driver", f"for CUDA {machine.driver_version}" if machine.driver_version else "none"
    for gpu in machine.gpus:
        yield "GPU", f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_bytes / gib:.1f} GiB"
    if not machine.gpus:
        yield "GPU", "none"
    yield "packages", ", ".join(f"{name} {version}" for name, version in machine.packages.items())
