"""One small network taken through the whole path by the real program, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PLAN = """
net = "resnet8"
data = "digits"
out = "out"
[train]
epochs = 8
[calibrate]
num_images = 128
[validate]
min_agreement = 0.9       # a net of 8 layers after 8 epochs is unsure of itself
max_top1_drop = 2.0
[bench]
batches = [1, 2]
seconds = 0.05
[evidence]
targets = ["t4"]
"""


def run_program(*arguments: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resnet_deploy.cli.main", *map(str, arguments)]
    environment = {**os.environ, "NO_COLOR": "1", **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory) -> tuple[Path, dict]:
    """The folder of a finished plan, and what `deploy --json` said."""
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "plan.toml").write_text(PLAN)
    done = run_program("deploy", "plan.toml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.fixture
def program(deployed) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `resnet-deploy` in the deployed folder; the test must not change its files."""
    folder, _ = deployed
    return lambda *arguments, **variables: run_program(*arguments, cwd=folder, **variables)
