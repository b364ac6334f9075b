"""The engine functions of the C ABI, as a program in another language calls them."""

from __future__ import annotations

__all__ = ["OpenEngine", "OpenSession", "SdkError", "SdkLibrary"]

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

_P = ctypes.c_void_p


class _Image(ctypes.Structure):
    _fields_ = (
        ("data", _P),
        ("width_px", ctypes.c_int32),
        ("height_px", ctypes.c_int32),
        ("stride_bytes", ctypes.c_int64),
        ("format", ctypes.c_int),
    )


class _OpenOptions(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("backends", ctypes.c_char_p),
        ("backend_path", ctypes.c_char_p),
        ("public_key_pem", ctypes.c_char_p),
        ("device", ctypes.c_int32),
        ("num_threads", ctypes.c_int32),
        ("skip_self_test", ctypes.c_int32),
        ("log", _P),
        ("log_user", _P),
    )


class SdkError(Exception):
    """A function gave another status than RD_OK.

    Attributes:
        status: Its name, "RD_NO_DRIVER".
    """

    def __init__(self, status: str, text: str) -> None:
        self.status = status
        super().__init__(f"{status}: {text}")


class SdkLibrary:
    """libresnet_deploy.so of a folder, whose backends are beside it."""

    def __init__(self, folder: Path) -> None:
        self._library = ctypes.CDLL(str(folder / "libresnet_deploy.so"))
        self._library.rd_last_error.restype = ctypes.c_char_p
        self._library.rd_status_name.restype = ctypes.c_char_p
        for name in ("rd_engine_close", "rd_session_destroy", "rd_open_options_init"):
            getattr(self._library, name).argtypes = [_P]
            getattr(self._library, name).restype = None

    @contextmanager
    def open(self, bundle: Path, *, backends: str, num_threads: int = 1) -> Iterator[OpenEngine]:
        """The bundle's first model that one of `backends` opens."""
        options = _OpenOptions()
        self._library.rd_open_options_init(ctypes.byref(options))
        assert options.struct_size == ctypes.sizeof(options)
        options.backends, options.num_threads = backends.encode(), num_threads
        engine = _P()
        self.call("rd_engine_open", str(bundle).encode(), ctypes.byref(options), ctypes.byref(engine))
        try:
            yield OpenEngine(self, engine)
        finally:
            self._library.rd_engine_close(engine)

    def call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            text = self._library.rd_last_error().decode()
            raise SdkError(self._library.rd_status_name(status).decode(), text)

    def destroy_session(self, session: ctypes.c_void_p) -> None:
        self._library.rd_session_destroy(session)


class OpenEngine:
    """An engine; `run` and `run_images` make a session for themselves."""

    def __init__(self, library: SdkLibrary, engine: ctypes.c_void_p) -> None:
        self._library, self._engine = library, engine

    @contextmanager
    def session(self, *, num_outputs: int, max_batch: int) -> Iterator[OpenSession]:
        """A session, for one thread at a time."""
        session = _P()
        self._library.call("rd_session_create", self._engine, max_batch, ctypes.byref(session))
        try:
            yield OpenSession(self._library, session, num_outputs)
        finally:
            self._library.destroy_session(session)

    def run(self, batch: np.ndarray, *, num_outputs: int, max_batch: int) -> np.ndarray:
        """Output [N, num_outputs] for the network's input [N, 3, H, W]."""
        with self.session(num_outputs=num_outputs, max_batch=max_batch) as session:
            return session.run(batch)

    def run_images(self, images: Sequence[np.ndarray], *, num_outputs: int, max_batch: int) -> np.ndarray:
        """Output [N, num_outputs] for images uint8 [H, W, 3] RGB of any sizes."""
        with self.session(num_outputs=num_outputs, max_batch=max_batch) as session:
            return session.run_images(images)


class OpenSession:
    """A session of an engine."""

    def __init__(self, library: SdkLibrary, session: ctypes.c_void_p, num_outputs: int) -> None:
        self._library, self._session, self._num_outputs = library, session, num_outputs

    def run(self, batch: np.ndarray) -> np.ndarray:
        batch = np.ascontiguousarray(batch, np.float32)
        return self._call("rd_run", _P(batch.ctypes.data), len(batch))

    def run_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        kept = [np.ascontiguousarray(image) for image in images]
        described = (_Image * len(kept))(
            *(_Image(image.ctypes.data, image.shape[1], image.shape[0], 0, 0) for image in kept)
        )
        return self._call("rd_run_images", described, len(kept))

    def _call(self, name: str, given: object, count: int) -> np.ndarray:
        output = np.full((count, self._num_outputs), np.nan, np.float32)
        self._library.call(name, self._session, given, ctypes.c_size_t(count), _P(output.ctypes.data))
        return output
