"""Colour augmentation of the paper's [21]: steps along the principal components of ImageNet's pixels."""

from __future__ import annotations

__all__ = ["colour_offsets"]

import torch
from torch import Tensor

# Principal components of RGB over ImageNet's training pixels in units of pixel / 255: square roots of the
# eigenvalues, and unit eigenvectors as columns. The figures in common use (fb.resnet.torch and its descendants).
_DEVIATIONS = (0.2175, 0.0188, 0.0045)
_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def colour_offsets(draws: Tensor) -> Tensor:
    """What to add to R, G and B of each image: [N, 3] draws of mean 0 -> [N, 3], in units of pixel / 255.

    Source: Krizhevsky et al., NIPS 2012, section 4.1: [p1 p2 p3][a1 l1, a2 l2, a3 l3] with a of deviation 0.1. That
    text calls l the eigenvalues; with pixels in 0 to 1 the implementations' figures, kept here, are as given above.
    """
    return (draws * torch.tensor(_DEVIATIONS)) @ torch.tensor(_VECTORS).T
