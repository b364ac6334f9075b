"""Whether torch.compile finds the compiler it needs."""

from __future__ import annotations

__all__ = ["why_no_compiler"]

import importlib.util
import shutil


def why_no_compiler(*, on_gpu: bool) -> tuple[str, str]:
    """Why torch.compile can not compile here, and what to install; ("", "") where it can."""
    if on_gpu:
        here = importlib.util.find_spec("triton") is not None
        return ("", "") if here else ("torch.compile needs triton on a GPU", "pip install triton")
    here = any(shutil.which(name) for name in ("g++", "c++", "clang++", "cl"))
    return ("", "") if here else ("torch.compile needs a C++ compiler on a processor", "install g++")
