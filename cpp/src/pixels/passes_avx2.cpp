// A weight of 23 bits is too wide for pmaddwd, so it goes as two halves of 11 bits: sum(w x) = sum(high x) * 2^11 +
// sum(low x). Both sums fit 32 bits, in any order.
#include "pixels/passes.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#include <cstring>

namespace resnet_deploy {
namespace {

#define RD_AVX2 __attribute__((target("avx2")))

RD_AVX2 inline __m256i rounded(__m256i high, __m256i low) {
  const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, kLowBits), low);
  return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << (kWeightBits - 1))), kWeightBits);
}

struct Halves {
  __m256i high;
  __m256i low;
};

// The four rows' sums of R, G and B, which each lane has half of -> three bytes of each row and one more.
RD_AVX2 inline void store_pixels(const __m256i high[kRowsAtOnce], const __m256i low[kRowsAtOnce],
                                 uint8_t* const out[kRowsAtOnce], size_t at) {
  __m256i pair[2];
  for (int i = 0; i < 2; ++i) {
    const __m256i a = _mm256_add_epi32(_mm256_slli_epi32(high[2 * i], kLowBits), low[2 * i]);
    const __m256i b = _mm256_add_epi32(_mm256_slli_epi32(high[2 * i + 1], kLowBits), low[2 * i + 1]);
    const __m256i sum = _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
    pair[i] = _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << (kWeightBits - 1))), kWeightBits);
  }
  const __m256i words = _mm256_packs_epi32(pair[0], pair[1]);  // rows 0 and 2, rows 1 and 3
  const __m256i bytes = _mm256_packus_epi16(words, words);
  const int64_t even = _mm256_extract_epi64(bytes, 0), odd = _mm256_extract_epi64(bytes, 2);
  std::memcpy(out[0] + at, &even, 4);
  std::memcpy(out[1] + at, &odd, 4);
  const int64_t even_next = even >> 32, odd_next = odd >> 32;
  std::memcpy(out[2] + at, &even_next, 4);
  std::memcpy(out[3] + at, &odd_next, 4);
}

RD_AVX2 void horizontal(const AxisWeights& axis, const uint8_t* const in[kRowsAtOnce],
                        uint8_t* const out[kRowsAtOnce]) {
  static_assert(kRowsAtOnce == 4 && kTapGroup == 4, "the shuffles below are written for these");
  // Four pixels of three bytes -> 16-bit pairs (r0 r1)(g0 g1)(b0 b1)(0 0), and the same of the other two pixels.
  const __m256i pair = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7, -1,
                                        10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  // Eight halves of weights -> the first two in each quarter of the lower lane, the next two in the upper lane.
  const __m256i pick_high =
      _mm256_setr_epi32(0x03020100, 0x03020100, 0x03020100, 0x03020100, 0x07060504, 0x07060504, 0x07060504, 0x07060504);
  const __m256i pick_low = _mm256_add_epi8(pick_high, _mm256_set1_epi8(8));
  for (int32_t i = 0; i < axis.num_outputs; ++i) {
    const int16_t* halves = axis.halves_of(i);
    size_t offset = 3 * static_cast<size_t>(axis.first[static_cast<size_t>(i)]);
    __m256i high[kRowsAtOnce], low[kRowsAtOnce];
    for (int32_t row = 0; row < kRowsAtOnce; ++row) high[row] = low[row] = _mm256_setzero_si256();
    for (int32_t tap = 0; tap < axis.num_taps; tap += kTapGroup, offset += 3 * kTapGroup) {
      const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + 2 * static_cast<size_t>(tap)));
      const __m256i both = _mm256_broadcastsi128_si256(eight);
      const __m256i upper = _mm256_shuffle_epi8(both, pick_high), lower = _mm256_shuffle_epi8(both, pick_low);
      for (int32_t row = 0; row < kRowsAtOnce; ++row) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in[row] + offset));
        const __m256i pixels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), pair);
        high[row] = _mm256_add_epi32(high[row], _mm256_madd_epi16(pixels, upper));
        low[row] = _mm256_add_epi32(low[row], _mm256_madd_epi16(pixels, lower));
      }
    }
    store_pixels(high, low, out, 3 * static_cast<size_t>(i));
  }
}

struct Sums {
  __m256i high[4];
  __m256i low[4];
};

// Adds two rows of 32 bytes, each with its weight.
RD_AVX2 inline void add_rows(__m256i a, __m256i b, __m256i high, __m256i low, Sums& sums) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i even = _mm256_unpacklo_epi8(a, b), odd = _mm256_unpackhi_epi8(a, b);
  const __m256i pairs[4] = {_mm256_unpacklo_epi8(even, zero), _mm256_unpackhi_epi8(even, zero),
                            _mm256_unpacklo_epi8(odd, zero), _mm256_unpackhi_epi8(odd, zero)};
  for (int part = 0; part < 4; ++part) {
    sums.high[part] = _mm256_add_epi32(sums.high[part], _mm256_madd_epi16(pairs[part], high));
    sums.low[part] = _mm256_add_epi32(sums.low[part], _mm256_madd_epi16(pairs[part], low));
  }
}

RD_AVX2 void vertical(const int32_t* weights, int32_t num_taps, const uint8_t* in, size_t stride, size_t num_bytes,
                      uint8_t* out) {
  while (num_taps > 1 && weights[num_taps - 1] == 0) --num_taps;  // also the rows that are missing
  for (size_t x = 0; x < num_bytes; x += kRowMultiple) {
    Sums sums;
    for (int part = 0; part < 4; ++part) sums.high[part] = sums.low[part] = _mm256_setzero_si256();
    for (int32_t tap = 0; tap < num_taps; tap += 2) {
      const bool is_pair = tap + 1 < num_taps;
      const int32_t first = weights[tap], second = is_pair ? weights[tap + 1] : 0;
      const uint8_t* row = in + stride * static_cast<size_t>(tap) + x;
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row));
      const __m256i b = is_pair ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + stride)) : a;
      const __m256i high = _mm256_set1_epi32((first >> kLowBits) | ((second >> kLowBits) << 16));
      const __m256i low = _mm256_set1_epi32((first & kLowMask) | ((second & kLowMask) << 16));
      add_rows(a, b, high, low, sums);
    }
    __m256i value[4];
    for (int part = 0; part < 4; ++part) value[part] = rounded(sums.high[part], sums.low[part]);
    const __m256i bytes =
        _mm256_packus_epi16(_mm256_packs_epi32(value[0], value[1]), _mm256_packs_epi32(value[2], value[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + x), bytes);
  }
}

}  // namespace

const Passes* avx2_passes() {
  static constexpr Passes kPasses{horizontal, vertical};
  return __builtin_cpu_supports("avx2") ? &kPasses : nullptr;
}

}  // namespace resnet_deploy

#else

namespace resnet_deploy {

const Passes* avx2_passes() { return nullptr; }

}  // namespace resnet_deploy

#endif
