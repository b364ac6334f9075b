// The weights of one axis of the resize, in integers.
#ifndef RESNET_DEPLOY_PIXELS_WEIGHTS_H
#define RESNET_DEPLOY_PIXELS_WEIGHTS_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace resnet_deploy {

constexpr int kWeightBits = 22;
constexpr int kLowBits = 11;  // a weight is too wide for a 16-bit multiplication, its halves are not
constexpr int32_t kLowMask = (1 << kLowBits) - 1;
constexpr int32_t kTapGroup = 4;

// For each output its first input and `num_taps` weights that sum to about 2^22; what is padded has weight 0.
struct AxisWeights {
  int32_t num_outputs = 0;
  int32_t num_taps = 0;  // a multiple of kTapGroup; may be more than the inputs
  std::vector<int32_t> first;
  std::vector<int32_t> weight;  // [num_outputs, num_taps]
  std::vector<int16_t> halves;  // [num_outputs, num_taps / 4, 8]: of four weights the upper halves, then the lower

  const int32_t* of(int32_t output) const {
    return weight.data() + static_cast<size_t>(output) * static_cast<size_t>(num_taps);
  }
  const int16_t* halves_of(int32_t output) const {
    return halves.data() + 2 * static_cast<size_t>(output) * static_cast<size_t>(num_taps);
  }
};

// Outputs `begin` to `begin + count` of resizing `length` to `resized` pixels. `first + num_taps` is at most `length`
// wherever `num_taps` is.
AxisWeights axis_weights(int32_t length, int64_t resized, int64_t begin, int32_t count);

}  // namespace resnet_deploy

#endif
