from __future__ import annotations

import importlib.util
from pathlib import Path

from resnet_deploy.bench.roofline.catalogue import figures_of, load_catalogue

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "make_gpu_catalogue.py"


def test_the_page_is_what_the_catalogue_gives() -> None:
    spec = importlib.util.spec_from_file_location("make_gpu_catalogue", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page_of(load_catalogue()), (
        "run: python docs/reference/make_gpu_catalogue.py"
    )


def test_the_page_marks_as_many_figures_as_are_not_confirmed() -> None:
    page = SCRIPT.with_name("gpu-catalogue.md").read_text(encoding="utf-8")
    doubtful = [f for gpu in load_catalogue().gpu for _, f in figures_of(gpu) if not f.confirmed]
    assert page.split("## Names")[0].count(" **?** [") == len(doubtful)
