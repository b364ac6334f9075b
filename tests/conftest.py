"""What every test may use: the shared data where it is there, and how GPU skips behave."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A GPU test without a GPU is skipped, or fails where RESNET_DEPLOY_REQUIRE_GPU=1 says there must be one."""
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items or os.environ.get("RESNET_DEPLOY_REQUIRE_GPU") == "1":
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard():
    """A shell starts background jobs with SIGINT ignored, which child processes inherit; here it must be heard."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with CIFAR-10 as JPEG, public checkpoints and photographs; not part of the project."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("../shared/data is not here")
    return path
