"""The image functions of libresnet_deploy.so, called through ctypes."""

from __future__ import annotations

__all__ = ["BGR", "BGRA", "GRAY", "RGB", "RGBA", "PixelsLibrary", "RefusedError"]

import ctypes
from pathlib import Path

import numpy as np

from resnet_deploy.core.specs import Preprocess

RGB, BGR, GRAY, RGBA, BGRA = range(5)


class RefusedError(Exception):
    """A status other than RD_OK, with the library's message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Image(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("width_px", ctypes.c_int32),
        ("height_px", ctypes.c_int32),
        ("stride_bytes", ctypes.c_int64),
        ("format", ctypes.c_int),
    ]


class _DecodeOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("apply_orientation", ctypes.c_int32),
        ("max_pixels", ctypes.c_int64),
    ]


class _Spec(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("version", ctypes.c_int32),
        ("height_px", ctypes.c_int32),
        ("width_px", ctypes.c_int32),
        ("resize_shorter_px", ctypes.c_int32),
        ("mean", ctypes.c_float * 3),
        ("std", ctypes.c_float * 3),
    ]


class PixelsLibrary:
    """Images as numpy arrays in and out."""

    def __init__(self, file: Path) -> None:
        self._library = ctypes.CDLL(str(file))
        self._library.rd_last_error.restype = ctypes.c_char_p
        self._library.rd_pixels_image.restype = _Image
        self._library.rd_pixels_image.argtypes = [ctypes.c_void_p]
        self._library.rd_pixels_free.argtypes = [ctypes.c_void_p]

    def decode(self, data: bytes, *, apply_orientation: bool = False) -> np.ndarray:
        """[H, W, 3] uint8 RGB, a copy."""
        pixels = self._decoded(data, apply_orientation)
        try:
            image = self._library.rd_pixels_image(pixels)
            values = ctypes.cast(image.data, ctypes.POINTER(ctypes.c_uint8))
            return np.ctypeslib.as_array(values, (image.height_px, image.width_px, 3)).copy()
        finally:
            self._library.rd_pixels_free(pixels)

    def crop_pixels(self, image: np.ndarray, spec: Preprocess, pixel_format: int = RGB) -> np.ndarray:
        """[H, W, C] uint8, whose rows may lie apart -> [height_px, width_px, 3] uint8."""
        out = np.empty((spec.height_px, spec.width_px, 3), np.uint8)
        self._call(
            "rd_crop_pixels", ctypes.byref(_spec(spec)), ctypes.byref(_image(image, pixel_format)), _address(out)
        )
        return out

    def preprocess(self, image: np.ndarray, spec: Preprocess) -> np.ndarray:
        """[H, W, 3] uint8 RGB -> [3, height_px, width_px] float32."""
        out = np.empty(spec.input_shape, np.float32)
        self._call("rd_preprocess", ctypes.byref(_spec(spec)), ctypes.byref(_image(image, RGB)), _address(out))
        return out

    def preprocess_file(self, data: bytes, spec: Preprocess) -> np.ndarray:
        """The bytes of a file -> [3, height_px, width_px] float32, the decoded pixels never copied."""
        out = np.empty(spec.input_shape, np.float32)
        pixels = self._decoded(data, False)
        try:
            image = self._library.rd_pixels_image(pixels)
            self._call("rd_preprocess", ctypes.byref(_spec(spec)), ctypes.byref(image), _address(out))
        finally:
            self._library.rd_pixels_free(pixels)
        return out

    def _decoded(self, data: bytes, apply_orientation: bool) -> ctypes.c_void_p:
        options = _DecodeOptions(ctypes.sizeof(_DecodeOptions), int(apply_orientation), 0)
        pixels = ctypes.c_void_p()
        self._call("rd_decode", data, ctypes.c_size_t(len(data)), ctypes.byref(options), ctypes.byref(pixels))
        return pixels

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self._library, function)(*arguments)
        if status != 0:
            raise RefusedError(status, self._library.rd_last_error().decode())


def _image(image: np.ndarray, pixel_format: int) -> _Image:
    height, width = image.shape[:2]
    return _Image(image.ctypes.data, width, height, image.strides[0], pixel_format)


def _spec(spec: Preprocess) -> _Spec:
    three = ctypes.c_float * 3
    shorter = spec.resize_shorter_px or 0
    size = ctypes.sizeof(_Spec)
    return _Spec(size, spec.version, spec.height_px, spec.width_px, shorter, three(*spec.mean), three(*spec.std))


def _address(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
