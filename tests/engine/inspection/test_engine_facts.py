from __future__ import annotations

from pathlib import Path

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.engine.inspection.engine_facts import engine_facts
from tests.engine.fake_trt import PLAN


def _facts(tmp_path: Path, **details: object) -> dict:
    file = tmp_path / "net.engine"
    file.write_bytes(PLAN)
    manifest = Manifest(kind="engine", file=file.name, sha256="0", size_bytes=len(PLAN), stage="build", details=details)
    return engine_facts(file, manifest)


def test_all_that_the_build_recorded_is_said(tmp_path: Path) -> None:
    shapes = [{"min": [1, 3, 9, 9], "opt": [n, 3, 9, 9], "max": [64, 3, 9, 9]} for n in (1, 32)]
    facts = _facts(
        tmp_path,
        gpu={"name": "A100", "compute_capability": "8.0", "memory_bytes": 1},
        driver="13.0",
        profiles=shapes,
        stripped=True,
        refittable=True,
        hardware_compatibility="ampere-plus",
        version_compatible=True,
        log=[["info", "a"], ["warning", "b"], ["info", "c"]],
        sanity={"state": "not run", "reason": "no CUDA device"},
    )
    assert facts["built on"] == "A100, compute capability 8.0"
    assert facts["driver at build time"] == "CUDA 13.0"
    assert facts["shapes, profile 0"] == "1x3x9x9 to 64x3x9x9, tuned for 1x3x9x9"
    assert facts["shapes, profile 1"].endswith("tuned for 32x3x9x9")
    assert facts["weights"] == "left out, to be refitted before it runs"
    assert facts["hardware compatibility"] == "ampere-plus" and facts["version compatible"].startswith("yes")
    assert facts["build log"] == "3 messages: 2 info, 1 warning"
    assert facts["sanity gate"] == "not run: no CUDA device"


def test_usual_things_are_said_shortly_and_a_fixed_batch_is(tmp_path: Path) -> None:
    facts = _facts(
        tmp_path, profiles=[], refittable=True, hardware_compatibility="none", sanity={"state": "passed"}, gpu=None
    )
    assert facts["shapes"] == "as the inputs say, fixed"
    assert facts["weights"] == "inside, can be refitted" and facts["sanity gate"] == "passed"
    assert not {"built on", "hardware compatibility", "version compatible", "build log"} & set(facts)
