"""How far two correct runs of one network may be apart: what a batch of another size is held to."""

from __future__ import annotations

__all__ = ["DISTINCT", "rounding_limit"]

from resnet_deploy.core.specs import Precision

DISTINCT = 3.0
"""Rows used to tell answers apart differ by at least so many limits, so a wrong row is far outside."""

_LIMITS = {
    Precision.FP32: 2.0**-13,
    Precision.FP16: 2.0**-5,
    Precision.BF16: 2.0**-3,
    Precision.INT8: 2.0**-3,
    Precision.FP8: 2.0**-2,
}
_TF32 = 2.0**-5  # TF32 rounds what goes into a convolution to the 11 bits of FP16


def rounding_limit(precision: Precision, *, tf32: bool = False) -> float:
    """Largest difference between two runs of one image, as a share of the largest output of the network.

    The same call twice must give the same bits. Another batch size may pick other kernels, which add in another
    order and round otherwise. With u the unit roundoff, one rounding errs by about 0.4 u (uniform in +-u), L = 160
    layers by sqrt(160) * 0.4 u = 5 u, the largest of a thousand outputs by four times that, and two runs differ by
    sqrt(2) times as much: 28 u, taken as 32 u.

    * FP32: u = 2^-24, and sums of n = 3 * 3 * 512 products err by sqrt(n) = 68 u: 32 * 2^6 * 2^-24 = 2^-13.
    * FP16, and FP32 in TF32: u = 2^-11, sums in FP32: 2^-6; doubled to 2^-5 for kernels that add in FP16.
    * BF16: u = 2^-8: 2^-3.
    * INT8: integer sums are exact, but what lies near the middle between two steps may be rounded either way, a step
      of 1/127 of a tensor's range. At worst every value of every layer is: the noise of quantisation itself, which for
      a network worth shipping is 20 to 30 dB below its output: 3 to 10 % of it, so 2^-3.
    * FP8: the same with E4M3's steps of 2^-3 of a value: twice INT8's.

    A correct kernel is usually a hundred times closer; a row that belongs to another image is `DISTINCT` limits away.
    """
    return _TF32 if tf32 and precision is Precision.FP32 else _LIMITS[precision]
