"""Whether two sets of images are the same set, on two machines or after a copy: by labels and by some of the pixels."""

from __future__ import annotations

__all__ = ["sample_identity"]

import hashlib

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.source import ImageSource

_NUM_SAMPLED = 32


def sample_identity(source: ImageSource) -> str:
    """SHA-256 over number, classes, labels and the decoded pixels of 32 images spread over the set.

    Where `ImageSource.fingerprint` changes with the files' times, this does not, so a run can go on with a copy of its
    images. It does not see an image replaced by another of its class, unless that is one of the 32.
    """
    labels = np.ascontiguousarray(source.labels, dtype=np.int64)
    digest = hashlib.sha256("\n".join([str(len(source)), *source.classes, ""]).encode())
    digest.update(labels.tobytes())
    for index in np.unique(np.linspace(0, len(source) - 1, _NUM_SAMPLED).astype(np.int64)):
        try:
            pixels = np.ascontiguousarray(source.image(int(index)))
        except DataError:  # one that can not be decoded is so everywhere
            digest.update(b"bad")
        else:
            digest.update(f"{pixels.shape}".encode())
            digest.update(pixels.tobytes())
    return digest.hexdigest()
