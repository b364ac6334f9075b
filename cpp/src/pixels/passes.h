// The two passes of the resize: the same integers in portable code and with AVX2.
#ifndef RESNET_DEPLOY_PIXELS_PASSES_H
#define RESNET_DEPLOY_PIXELS_PASSES_H

#include <cstddef>
#include <cstdint>

#include "pixels/weights.h"

namespace resnet_deploy {

constexpr int32_t kRowsAtOnce = 4;
constexpr size_t kReadMargin = 16;   // bytes that a pass may read behind the last tap of a row
constexpr size_t kRowMultiple = 32;  // a row between the passes has a multiple of this many bytes

// Both passes of one instruction set. Sums are at most 255 * (2^22 + taps) + 2^21 < 2^31.
struct Passes {
  // RGB rows in -> RGB rows of `axis.num_outputs` pixels; up to 2 bytes behind the last one are overwritten.
  void (*horizontal)(const AxisWeights& axis, const uint8_t* const in[kRowsAtOnce], uint8_t* const out[kRowsAtOnce]);
  // One output row from `num_taps` rows that lie `stride` bytes apart, whose last ones (weight 0) may be missing.
  void (*vertical)(const int32_t* weights, int32_t num_taps, const uint8_t* in, size_t stride, size_t num_bytes,
                   uint8_t* out);
};

const Passes& plain_passes();
const Passes* avx2_passes();  // nullptr where the processor or the compiler has none

// The fastest of this machine.
const Passes& best_passes();

}  // namespace resnet_deploy

#endif
