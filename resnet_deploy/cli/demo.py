"""`resnet-deploy demo`: the whole path on bundled data."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated

import typer

from resnet_deploy.cli.deploy import run_plan
from resnet_deploy.cli.options import FORCE, JSON


def command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of every file.")] = Path("out/demo"),
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Train ResNet-20 on bundled digits, build its engines, prove them, time the five depths, write a report.

    About three minutes on two processor cores, no GPU and no download needed. A second run takes what is up to date.
    """
    from dataclasses import replace

    from resnet_deploy.pipeline.plan import demo_plan

    run_plan(replace(demo_plan(), out=out), force=force, json=json)
