"""The script that writes docs/reference/schemas, as a module."""

from __future__ import annotations

__all__ = ["make_schemas"]

import importlib.util
from pathlib import Path

_SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas" / "make_schemas.py"
_spec = importlib.util.spec_from_file_location("make_schemas", _SCRIPT)
make_schemas = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_schemas)
