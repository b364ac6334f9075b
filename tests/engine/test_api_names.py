"""Every name of NVIDIA's API that is used without asking whether it is there, is there.

The oracle is TensorRT-RTX's own module, which installs without a GPU and shares its bindings with TensorRT 10 and 11.
(The names were also compared with the bindings' sources in NVIDIA/TensorRT, v10.0.0 to v11.1: those that some release
lacks are asked for by `hasattr` or `getattr`.)
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parents[2] / "resnet_deploy" / "engine"

# file -> variable -> the class of the bindings it holds
VARIABLES = {
    "building/builder.py": {
        "builder": "Builder",
        "network": "INetworkDefinition",
        "parser": "OnnxParser",
        "config": "IBuilderConfig",
        "profile": "IOptimizationProfile",
        "error": "ParserError",
    },
    "building/configure.py": {"config": "IBuilderConfig", "cache": "ITimingCache"},
    "runners/loaded_engine.py": {
        "_runtime": "Runtime",
        "_engine": "ICudaEngine",
        "_cache": "IRuntimeCache",
        "config": "IRuntimeConfig",
        "context": "IExecutionContext",
    },
    "runners/slot.py": {"_context": "IExecutionContext"},
    "runners/refit.py": {"refitter": "Refitter", "parser": "OnnxParserRefitter"},
    "inspection/inspector.py": {"inspector": "EngineInspector", "context": "IExecutionContext"},
    "preflight/validity.py": {"runtime": "Runtime"},
}


def uses(file: str) -> list[tuple[str, str]]:
    """(class, name) of every attribute of those variables; ("", name) of the module's own."""
    found = []
    for node in ast.walk(ast.parse((ENGINE / file).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
        if name == "trt" and isinstance(owner, ast.Name):
            found.append(("", node.attr))
        elif name in VARIABLES[file]:
            found.append((VARIABLES[file][name], node.attr))
        elif isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "trt":
            found.append((owner.attr, node.attr))  # trt.BuilderFlag.TF32
    return found


@pytest.mark.parametrize("file", VARIABLES)
def test_every_name_is_one_of_the_bindings(file: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    names = uses(file)
    assert any(owner for owner, _ in names), "no variable of that name: mend VARIABLES"
    missing = [(owner, name) for owner, name in names if not hasattr(getattr(trt, owner) if owner else trt, name)]
    assert not missing


def test_a_name_that_is_none_would_be_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    (tmp_path / "a.py").write_text("config.no_such_option = trt.BuilderFlag.NO_FLAG\nconfig.set_flag(trt.NoClass)\n")
    monkeypatch.setitem(VARIABLES, "a.py", {"config": "IBuilderConfig"})
    monkeypatch.setattr("tests.engine.test_api_names.ENGINE", tmp_path)
    missing = [name for owner, name in uses("a.py") if not hasattr(getattr(trt, owner) if owner else trt, name)]
    assert sorted(missing) == ["NO_FLAG", "NoClass", "no_such_option"]
