#include "pixels/preprocess.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include "error.h"
#include "pixels/crop.h"

namespace resnet_deploy {
namespace {

void check_side(const char* name, int32_t got, int32_t least) {
  if (got < least || got > kMaxCropSide) {
    throw Error(RD_INVALID_ARGUMENT, std::string("preprocess: ") + name + " is " + std::to_string(got) + ", expected " +
                                         std::to_string(least) + " to " + std::to_string(kMaxCropSide));
  }
}

// (x / 255 - mean) / std for each of the 256 bytes of each channel: one division, one subtraction, one division, each
// rounded to float32.
std::array<std::array<float, 256>, 3> normalised_bytes(const rd_preprocess_spec& spec) {
  std::array<std::array<float, 256>, 3> table;
  for (size_t channel = 0; channel < 3; ++channel) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const float unit = static_cast<float>(byte) / 255.0F;
      table[channel][byte] = (unit - spec.mean[channel]) / spec.std[channel];
    }
  }
  return table;
}

}  // namespace

void check_spec(const rd_preprocess_spec& spec) {
  if (spec.version != kPreprocessVersion) {
    throw Error(RD_INVALID_ARGUMENT, "preprocess: version " + std::to_string(spec.version) + " is not " +
                                         std::to_string(kPreprocessVersion) +
                                         ", the only one known here; use a library of the bundle's release");
  }
  check_side("height_px", spec.height_px, 1);
  check_side("width_px", spec.width_px, 1);
  if (spec.resize_shorter_px != 0) {
    check_side("resize_shorter_px", spec.resize_shorter_px, std::max(spec.height_px, spec.width_px));
  }
  for (size_t channel = 0; channel < 3; ++channel) {
    const float mean = spec.mean[channel], std = spec.std[channel];
    if (!std::isfinite(mean) || !std::isfinite(std) || !(std > 0.0F)) {
      throw Error(RD_INVALID_ARGUMENT, "preprocess: mean[" + std::to_string(channel) + "] is " + std::to_string(mean) +
                                           " and std[" + std::to_string(channel) + "] " + std::to_string(std) +
                                           "; both must be finite, std above 0");
    }
  }
}

void crop_pixels(const rd_preprocess_spec& spec, const rd_image& image, uint8_t* out, const Passes& passes) {
  check_spec(spec);
  const size_t row_bytes = 3 * static_cast<size_t>(spec.width_px);
  for_each_crop_row(spec, checked_view(image), passes, [=](int32_t y, const uint8_t* rgb) {
    std::memcpy(out + row_bytes * static_cast<size_t>(y), rgb, row_bytes);
  });
}

void preprocess(const rd_preprocess_spec& spec, const rd_image& image, float* out) {
  check_spec(spec);
  const auto table = normalised_bytes(spec);
  const size_t width = static_cast<size_t>(spec.width_px);
  const size_t plane = width * static_cast<size_t>(spec.height_px);
  for_each_crop_row(spec, checked_view(image), best_passes(), [&](int32_t y, const uint8_t* rgb) {
    float* red = out + width * static_cast<size_t>(y);
    float* green = red + plane;
    float* blue = green + plane;
    for (size_t x = 0; x < width; ++x) {
      red[x] = table[0][rgb[3 * x]];
      green[x] = table[1][rgb[3 * x + 1]];
      blue[x] = table[2][rgb[3 * x + 2]];
    }
  });
}

}  // namespace resnet_deploy
