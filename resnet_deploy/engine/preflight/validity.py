"""TensorRT-RTX's own opinion of an engine's header; nothing is deserialised."""

from __future__ import annotations

__all__ = ["ask_runtime"]

from types import ModuleType

from resnet_deploy.core.errors import MissingDependencyError
from resnet_deploy.engine.preflight.check import Check, State
from resnet_deploy.engine.products import PRODUCTS, import_product, trt_logger

_SUBJECT = "runtime"


def ask_runtime(product: str, head: bytes) -> Check | None:
    """`Runtime.get_engine_validity` of the first bytes; None for a product that has no such call.

    Worth calling only where there is a GPU: without one TensorRT-RTX says INVALID of every engine, with diagnostics 0,
    which means "could not ask the GPU". TensorRT has no such call ("no separate compatibility preflight API",
    support matrix of 11.4), so it is not imported for it.

    Args:
        head: At least the first 64 bytes of the file.
    """
    if product != "tensorrt-rtx" or not PRODUCTS[product].installed:
        return None
    try:
        trt = import_product(PRODUCTS[product])
    except MissingDependencyError as error:
        return Check(subject=_SUBJECT, state=State.NOT_CHECKED, text=error.message)
    runtime = trt.Runtime(trt_logger(trt))
    if not hasattr(runtime, "get_engine_validity"):
        return None
    validity, diagnostics = runtime.get_engine_validity(head)
    return _answer(trt, validity, int(diagnostics))


def _answer(trt: ModuleType, validity: object, diagnostics: int) -> Check:
    name = f"{PRODUCTS['tensorrt-rtx'].name} {trt.__version__}"
    kinds = trt.EngineInvalidityDiagnostics
    reasons = {member: int(value) for member, value in kinds.__members__.items() if diagnostics & int(value)}
    told = ", ".join(member.lower().replace("_", " ") for member in reasons)
    if validity == trt.EngineValidity.VALID:
        return Check(subject=_SUBJECT, state=State.GOOD, text=f"{name} finds it valid for the GPU here")
    if validity == trt.EngineValidity.SUBOPTIMAL:
        why = f" ({told})" if told else ""
        return Check(subject=_SUBJECT, state=State.GOOD, text=f"{name} runs it, but not at its best{why}")
    if set(reasons) <= {"CUDA_ERROR"}:
        return Check(subject=_SUBJECT, state=State.NOT_CHECKED, text=f"{name} could not ask the GPU")
    state = State.DAMAGED if "MALFORMED_ENGINE" in reasons else State.MISFIT
    return Check(subject=_SUBJECT, state=state, text=f"{name} refuses it: {told}")
