"""A backend module of the C++ SDK, called through the table of functions that it gives to the core."""

from __future__ import annotations

__all__ = ["BackendError", "BackendModule", "ModelSource"]

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_STATUS_NAMES = {
    0: "RD_OK",
    1: "RD_INVALID_ARGUMENT",
    6: "RD_NO_BACKEND",
    7: "RD_VERSION_MISMATCH",
    8: "RD_NO_DRIVER",
    9: "RD_WRONG_GPU",
    10: "RD_ENGINE_REFUSED",
    13: "RD_RUN_FAILED",
    14: "RD_UNSUPPORTED",
    18: "RD_INTERNAL",
}
_ABI = 1
_FLOAT32, _UINT8 = 0, 1
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)


class _Error(ctypes.Structure):
    _fields_ = (("text", ctypes.c_char * 2048),)


class _Source(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("bytes", ctypes.c_char_p),
        ("num_bytes", ctypes.c_size_t),
        ("file", ctypes.c_char_p),
        ("format", ctypes.c_char_p),
        ("product", ctypes.c_char_p),
        ("version", ctypes.c_char_p),
        ("compute_capabilities", ctypes.POINTER(ctypes.c_int32)),
        ("num_compute_capabilities", ctypes.c_size_t),
        ("input_name", ctypes.c_char_p),
        ("output_name", ctypes.c_char_p),
        ("input_element", ctypes.c_int),
        ("num_outputs", ctypes.c_int32),
        ("device", ctypes.c_int32),
        ("num_threads", ctypes.c_int32),
        ("log", _LOG),
        ("log_user", ctypes.c_void_p),
        ("hardware_compatible", ctypes.c_int32),
    )


class _Info(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("runtime", ctypes.c_char * 128),
        ("device", ctypes.c_char * 128),
        ("max_batch", ctypes.c_int32),
    )


_P, _E = ctypes.c_void_p, ctypes.POINTER(_Error)


class _Backend(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("abi", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
        ("takes", ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_char_p, ctypes.c_char_p)),
        (
            "open",
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Source), ctypes.POINTER(_P), ctypes.POINTER(_Info), _E),
        ),
        ("close", ctypes.CFUNCTYPE(None, _P)),
        ("create_session", ctypes.CFUNCTYPE(ctypes.c_int, _P, ctypes.c_int32, ctypes.POINTER(_P), _E)),
        ("destroy_session", ctypes.CFUNCTYPE(None, _P)),
        ("run", ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, ctypes.POINTER(ctypes.c_int64 * 4), _P, _E)),
        ("enqueue", _P),
    )


class BackendError(Exception):
    """A function of the module gave another status than RD_OK.

    Attributes:
        status: Its name, "RD_NO_DRIVER".
    """

    def __init__(self, status: int, text: str) -> None:
        self.status = _STATUS_NAMES.get(status, str(status))
        super().__init__(f"{self.status}: {text}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """What the core says of a model when it opens one: see cpp/src/backend.h."""

    content: bytes
    file: str = "model.onnx"
    format: str = "onnx"
    product: str = ""
    version: str = ""
    compute_capabilities: tuple[int, ...] = ()
    input_name: str = "images"
    output_name: str = "logits"
    num_outputs: int = 10
    pixels: bool = False
    num_threads: int = 1


class BackendModule:
    """One module file, with the models and sessions that were opened in it.

    Attributes:
        log: (level, text) of everything that the module said.
    """

    def __init__(self, file: Path) -> None:
        library = ctypes.CDLL(str(file))
        library.rd_backend_entry.restype = ctypes.POINTER(_Backend)
        library.rd_backend_entry.argtypes = [ctypes.c_uint32]
        self._table = library.rd_backend_entry(_ABI).contents
        self.name = self._table.name.decode()
        self.serves_other_abi = bool(library.rd_backend_entry(_ABI + 1))
        self.log: list[tuple[int, str]] = []
        self._log = _LOG(lambda _, level, text: self.log.append((level, text.decode())))

    def takes(self, model_format: str, product: str) -> bool:
        return bool(self._table.takes(model_format.encode(), product.encode()))

    def open(self, source: ModelSource) -> tuple[ctypes.c_void_p, _Info]:
        """The model and what the module says of it; to be closed by the caller."""
        capabilities = (ctypes.c_int32 * len(source.compute_capabilities))(*source.compute_capabilities)
        given = _Source(
            struct_size=ctypes.sizeof(_Source),
            bytes=source.content,
            num_bytes=len(source.content),
            file=source.file.encode(),
            format=source.format.encode(),
            product=source.product.encode(),
            version=source.version.encode(),
            compute_capabilities=capabilities,
            num_compute_capabilities=len(source.compute_capabilities),
            input_name=source.input_name.encode(),
            output_name=source.output_name.encode(),
            input_element=_UINT8 if source.pixels else _FLOAT32,
            num_outputs=source.num_outputs,
            num_threads=source.num_threads,
            log=self._log,
        )
        model, info = _P(), _Info(struct_size=ctypes.sizeof(_Info))
        self._call(self._table.open, given, model, info)
        return model, info

    def close(self, model: ctypes.c_void_p) -> None:
        self._table.close(model)

    def create_session(self, model: ctypes.c_void_p, max_batch: int) -> ctypes.c_void_p:
        session = _P()
        self._call(self._table.create_session, model, max_batch, session)
        return session

    def destroy_session(self, session: ctypes.c_void_p) -> None:
        self._table.destroy_session(session)

    def run(self, session: ctypes.c_void_p, images: np.ndarray, *, num_outputs: int) -> np.ndarray:
        """The output [N, num_outputs] of a session for images [N, 3, H, W] float32 or [N, H, W, 3] uint8."""
        images = np.ascontiguousarray(images)
        output = np.full((len(images), num_outputs), np.nan, np.float32)
        dims = (ctypes.c_int64 * 4)(*images.shape)
        self._call(self._table.run, session, images.ctypes.data, dims, output.ctypes.data)
        return output

    def logits(self, source: ModelSource, batches: list[np.ndarray]) -> list[np.ndarray]:
        """Open, run each batch in one session, and close."""
        model, _ = self.open(source)
        try:
            session = self.create_session(model, max(map(len, batches)))
            try:
                return [self.run(session, images, num_outputs=source.num_outputs) for images in batches]
            finally:
                self.destroy_session(session)
        finally:
            self.close(model)

    def _call(self, function: object, *arguments: object) -> None:
        error = _Error()
        status = function(*arguments, error)
        if status != 0:
            raise BackendError(status, error.text.decode())
