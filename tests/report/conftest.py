from __future__ import annotations

from pathlib import Path

import pytest

from resnet_deploy.report.report import ReportOptions, write_report
from tests.report.everything import make_everything


@pytest.fixture(scope="session")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a folder that holds every kind of document; not to be changed."""
    return write_report(ReportOptions(folder=make_everything(tmp_path_factory.mktemp("everything")))).file
