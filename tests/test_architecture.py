"""The rules of the house that a program can check."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "resnet_deploy"

# Folder -> folders it may import (besides itself). Stages meet through files, not through imports.
ALLOWED = {
    "core": set(),
    "nets": {"core"},
    "data": {"core"},
    "graph": {"core"},
    "draw": {"core"},
    "train": {"core", "nets", "data", "draw", "graph"},
    "analyze": {"core", "nets", "data", "draw"},
    "export": {"core", "nets", "data", "graph"},
    "quant": {"core", "data", "graph", "draw"},
    "engine": {"core", "nets", "graph"},
    "verify": {"core", "nets", "data", "graph", "engine"},
    "bench": {"core", "nets", "data", "graph", "engine"},
    "report": {"core", "nets", "draw", "verify", "bench"},
    "ship": {"core", "data"},
    "pipeline": {
        "core",
        "nets",
        "data",
        "graph",
        "train",
        "export",
        "quant",
        "engine",
        "verify",
        "bench",
        "report",
        "ship",
    },
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported_folders(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("resnet_deploy.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path):
    folder = path.relative_to(PACKAGE).parts[0]
    if folder in ("__init__.py", "__main__.py", "cli"):
        return
    assert imported_folders(path) <= ALLOWED[folder] | {folder}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_only_the_command_line_prints_exits_and_reads_the_environment(path):
    if path.relative_to(PACKAGE).parts[0] == "cli":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "exit"), f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in (("sys", "exit"), ("os", "environ"), ("os", "getenv")), (
                f"line {node.lineno}"
            )


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_every_module_says_what_is_public(path):
    tree = ast.parse(path.read_text())
    if not tree.body:
        return  # an empty __init__.py
    assert ast.get_docstring(tree), "no docstring"
    named = {
        t.id for node in tree.body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)
    }
    assert "__all__" in named
