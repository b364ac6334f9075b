#include "pixels/weights.h"

#include <algorithm>

namespace resnet_deploy {
namespace {

int64_t floor_div(int64_t a, int64_t b) { return a / b - ((a % b != 0 && a < 0) ? 1 : 0); }

// The triangle over the inputs around one output; positions are in units of 1 / (2 * resized) of an input pixel.
struct Triangle {
  int64_t centre;  // (2i + 1) * length
  int64_t half_width;
  int64_t resized;

  Triangle(int64_t length, int64_t resized_px, int64_t output)
      : centre((2 * output + 1) * length), half_width(2 * std::max(length, resized_px)), resized(resized_px) {}

  int64_t at(int64_t input) const {
    const int64_t distance = (2 * input + 1) * resized - centre;
    return std::max<int64_t>(0, half_width - (distance < 0 ? -distance : distance));
  }
  int64_t first() const { return std::max<int64_t>(0, floor_div(centre - half_width - resized, 2 * resized) + 1); }
  int64_t last(int64_t length) const {
    return std::min(length - 1, -floor_div(-(centre + half_width - resized), 2 * resized) - 1);
  }
};

std::vector<int16_t> halves_of(const std::vector<int32_t>& weights) {
  std::vector<int16_t> halves(2 * weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    int16_t* group = halves.data() + 2 * (i - i % kTapGroup) + i % kTapGroup;
    group[0] = static_cast<int16_t>(weights[i] >> kLowBits);
    group[kTapGroup] = static_cast<int16_t>(weights[i] & kLowMask);
  }
  return halves;
}

}  // namespace

AxisWeights axis_weights(int32_t length, int64_t resized, int64_t begin, int32_t count) {
  AxisWeights axis;
  axis.num_outputs = count;
  int64_t most = 1;
  for (int32_t i = 0; i < count; ++i) {
    const Triangle triangle(length, resized, begin + i);
    most = std::max(most, triangle.last(length) - triangle.first() + 1);
  }
  axis.num_taps = static_cast<int32_t>((most + kTapGroup - 1) / kTapGroup * kTapGroup);
  axis.first.resize(static_cast<size_t>(count));
  axis.weight.assign(static_cast<size_t>(count) * static_cast<size_t>(axis.num_taps), 0);
  std::vector<int64_t> numerators(static_cast<size_t>(most));
  for (int32_t i = 0; i < count; ++i) {
    const Triangle triangle(length, resized, begin + i);
    const int64_t from = triangle.first();
    const int64_t to = triangle.last(length);
    int64_t sum = 0;
    for (int64_t j = from; j <= to; ++j) {
      numerators[static_cast<size_t>(j - from)] = triangle.at(j);
      sum += numerators[static_cast<size_t>(j - from)];
    }
    const int64_t first = std::max<int64_t>(0, std::min<int64_t>(from, int64_t{length} - axis.num_taps));
    axis.first[static_cast<size_t>(i)] = static_cast<int32_t>(first);
    int32_t* weight = axis.weight.data() + static_cast<size_t>(i) * static_cast<size_t>(axis.num_taps) + (from - first);
    for (int64_t j = 0; j <= to - from; ++j) {  // a half is rounded up
      weight[j] = static_cast<int32_t>(((numerators[static_cast<size_t>(j)] << (kWeightBits + 1)) + sum) / (2 * sum));
    }
  }
  axis.halves = halves_of(axis.weight);
  return axis;
}

}  // namespace resnet_deploy
