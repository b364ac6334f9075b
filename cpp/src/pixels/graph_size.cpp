#include "pixels/graph_size.h"

#include <algorithm>
#include <string>

#include "error.h"

namespace resnet_deploy {
namespace {

constexpr std::int64_t kTooLarge = std::int64_t{1} << 31;
constexpr int kFirstDigitBits = 8;  // a weight's 22 bits come in digits of 8, 5, 5 and 4
constexpr int kLaterDigitBits = 5;
constexpr std::int64_t kLongestRatio = 8 << 11;

bool is_axis_exact(std::int64_t length, std::int64_t shorter, std::int64_t resize_px, std::int64_t crop_px) {
  if (length * resize_px >= kTooLarge) return false;
  const std::int64_t resized = length * resize_px / shorter;
  const std::int64_t longest = std::max(length, resized);
  // in this order no product here passes 2^63
  if ((2 * longest) << kFirstDigitBits >= kTooLarge) return false;
  if ((length - 1) * resized + (crop_px + 1) * length >= kTooLarge) return false;
  if ((2 * longest * longest / resized + resized) << kLaterDigitBits >= kTooLarge) return false;
  return length <= kLongestRatio * resized;
}

}  // namespace

bool is_exact_in_graph(std::int32_t height, std::int32_t width, const rd_preprocess_spec& spec) noexcept {
  const std::int32_t shorter = std::min(height, width);
  if (shorter < 1) return false;
  if (spec.resize_shorter_px == 0) return true;
  return is_axis_exact(height, shorter, spec.resize_shorter_px, spec.height_px) &&
         is_axis_exact(width, shorter, spec.resize_shorter_px, spec.width_px);
}

void check_size_for_graph(std::int32_t height, std::int32_t width, const rd_preprocess_spec& spec) {
  const std::string image = "image is " + std::to_string(width) + "x" + std::to_string(height) + " px, ";
  if (spec.resize_shorter_px == 0 && (height < spec.height_px || width < spec.width_px)) {
    throw Error(RD_BAD_IMAGE, image + "the network's input " + std::to_string(spec.width_px) + "x" +
                                  std::to_string(spec.height_px) +
                                  " px, and its preprocessing does not resize; give larger images");
  }
  if (!is_exact_in_graph(height, width, spec)) {
    throw Error(RD_BAD_IMAGE, image +
                                  "too large or too long for the preprocessing in this network's graph; scale it down "
                                  "before, or use a bundle whose network takes prepared images");
  }
}

}  // namespace resnet_deploy
