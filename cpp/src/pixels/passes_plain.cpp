#include "pixels/passes.h"

namespace resnet_deploy {
namespace {

constexpr int32_t kHalf = 1 << (kWeightBits - 1);

uint8_t rounded(int32_t sum) {
  const int32_t value = sum >> kWeightBits;
  return static_cast<uint8_t>(value > 255 ? 255 : value);  // weights and pixels are never negative
}

void horizontal(const AxisWeights& axis, const uint8_t* const in[kRowsAtOnce], uint8_t* const out[kRowsAtOnce]) {
  for (int32_t row = 0; row < kRowsAtOnce; ++row) {
    for (int32_t i = 0; i < axis.num_outputs; ++i) {
      const int32_t* weight = axis.of(i);
      const uint8_t* pixel = in[row] + 3 * static_cast<size_t>(axis.first[static_cast<size_t>(i)]);
      int32_t red = kHalf, green = kHalf, blue = kHalf;
      for (int32_t tap = 0; tap < axis.num_taps; ++tap, pixel += 3) {
        red += weight[tap] * pixel[0];
        green += weight[tap] * pixel[1];
        blue += weight[tap] * pixel[2];
      }
      uint8_t* to = out[row] + 3 * static_cast<size_t>(i);
      to[0] = rounded(red);
      to[1] = rounded(green);
      to[2] = rounded(blue);
    }
  }
}

void vertical(const int32_t* weights, int32_t num_taps, const uint8_t* in, size_t stride, size_t num_bytes,
              uint8_t* out) {
  constexpr size_t kBlock = 256;  // the sums stay in the first-level cache
  int32_t sums[kBlock];
  for (size_t begin = 0; begin < num_bytes; begin += kBlock) {
    const size_t size = num_bytes - begin < kBlock ? num_bytes - begin : kBlock;
    for (size_t x = 0; x < size; ++x) sums[x] = kHalf;
    for (int32_t tap = 0; tap < num_taps; ++tap) {
      if (weights[tap] == 0) continue;  // also the rows that are missing
      const uint8_t* row = in + stride * static_cast<size_t>(tap) + begin;
      for (size_t x = 0; x < size; ++x) sums[x] += weights[tap] * row[x];
    }
    for (size_t x = 0; x < size; ++x) out[begin + x] = rounded(sums[x]);
  }
}

}  // namespace

const Passes& plain_passes() {
  static constexpr Passes kPasses{horizontal, vertical};
  return kPasses;
}

const Passes& best_passes() {
  static const Passes& best = avx2_passes() != nullptr ? *avx2_passes() : plain_passes();
  return best;
}

}  // namespace resnet_deploy
