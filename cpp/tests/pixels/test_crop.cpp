#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "error.h"
#include "golden.h"
#include "pixels/preprocess.h"

using resnet_deploy::avx2_passes;
using resnet_deploy::plain_passes;

namespace {

using Bytes = std::vector<uint8_t>;

Bytes cropped(const rd_preprocess_spec& spec, const rd_image& image, const resnet_deploy::Passes& passes) {
  Bytes out(3 * static_cast<size_t>(spec.height_px) * static_cast<size_t>(spec.width_px));
  resnet_deploy::crop_pixels(spec, image, out.data(), passes);
  return out;
}

rd_image rgb(const Bytes& bytes, int32_t width, int32_t height) { return {bytes.data(), width, height, 0, RD_RGB8}; }

// The whole image resized by the specification's formulas, pixel by pixel; then the crop.
struct Plain {
  int64_t width, height;
  Bytes bytes;

  int64_t at(int64_t y, int64_t x, int64_t channel) const {
    return bytes[static_cast<size_t>((y * width + x) * 3 + channel)];
  }
};

Plain resized_columns(const Plain& in, int64_t resized) {
  Plain out{resized, in.height, Bytes(static_cast<size_t>(3 * resized * in.height))};
  const int64_t wider = std::max(in.width, resized);
  for (int64_t i = 0; i < resized; ++i) {
    std::vector<int64_t> t(static_cast<size_t>(in.width));
    int64_t s = 0;
    for (int64_t j = 0; j < in.width; ++j) {
      t[static_cast<size_t>(j)] =
          std::max<int64_t>(0, 2 * wider - std::llabs((2 * j + 1) * resized - (2 * i + 1) * in.width));
      s += t[static_cast<size_t>(j)];
    }
    for (int64_t y = 0; y < in.height; ++y) {
      for (int64_t channel = 0; channel < 3; ++channel) {
        int64_t sum = 1 << 21;
        for (int64_t j = 0; j < in.width; ++j) {
          const int64_t k = (t[static_cast<size_t>(j)] * (1 << 23) + s) / (2 * s);
          sum += k * in.at(y, j, channel);
        }
        out.bytes[static_cast<size_t>((y * resized + i) * 3 + channel)] =
            static_cast<uint8_t>(std::min<int64_t>(255, sum >> 22));
      }
    }
  }
  return out;
}

Plain transposed(const Plain& in) {
  Plain out{in.height, in.width, Bytes(in.bytes.size())};
  for (int64_t y = 0; y < out.height; ++y) {
    for (int64_t x = 0; x < out.width; ++x) {
      for (int64_t c = 0; c < 3; ++c) {
        out.bytes[static_cast<size_t>((y * out.width + x) * 3 + c)] = static_cast<uint8_t>(in.at(x, y, c));
      }
    }
  }
  return out;
}

int64_t half_to_even(int64_t cut) { return cut % 4 == 3 ? cut / 2 + 1 : cut / 2; }

Bytes by_the_specification(const rd_preprocess_spec& spec, const Bytes& bytes, int32_t width, int32_t height) {
  const int64_t shorter = std::min(width, height);
  const int64_t new_width = int64_t{width} * spec.resize_shorter_px / shorter;
  const int64_t new_height = int64_t{height} * spec.resize_shorter_px / shorter;
  const Plain columns = resized_columns({width, height, bytes}, new_width);
  const Plain whole = transposed(resized_columns(transposed(columns), new_height));
  const int64_t top = half_to_even(new_height - spec.height_px), left = half_to_even(new_width - spec.width_px);
  Bytes out;
  for (int64_t y = top; y < top + spec.height_px; ++y) {
    for (int64_t x = left; x < left + spec.width_px; ++x) {
      for (int64_t c = 0; c < 3; ++c) out.push_back(static_cast<uint8_t>(whole.at(y, x, c)));
    }
  }
  return out;
}

}  // namespace

TEST_CASE("plain and AVX2 passes give the bytes of the specification") {
  std::mt19937 random(11);
  const auto up_to = [&random](uint32_t most) { return static_cast<int32_t>(random() % most + 1); };
  for (uint32_t round = 0; round < 300; ++round) {
    const int32_t width = up_to(round % 3 == 0 ? 6 : 90), height = up_to(round % 3 == 1 ? 6 : 90);
    const int32_t shorter = up_to(40);
    const rd_preprocess_spec spec =
        golden::spec(up_to(static_cast<uint32_t>(shorter)), up_to(static_cast<uint32_t>(shorter)), shorter);
    CAPTURE(width);
    CAPTURE(height);
    CAPTURE(shorter);
    const Bytes image = golden::noise(3 * static_cast<size_t>(width) * static_cast<size_t>(height), round);
    const Bytes expected = by_the_specification(spec, image, width, height);
    REQUIRE(cropped(spec, rgb(image, width, height), plain_passes()) == expected);
    if (avx2_passes() != nullptr) REQUIRE(cropped(spec, rgb(image, width, height), *avx2_passes()) == expected);
  }
}

TEST_CASE("plain and AVX2 passes agree on photograph sizes, white included") {
  if (avx2_passes() == nullptr) return;
  for (const auto& [width, height] : {std::pair{500, 375}, {1333, 750}, {224, 2000}, {3000, 301}, {9, 3000}}) {
    const size_t size = 3 * static_cast<size_t>(width) * static_cast<size_t>(height);
    for (const Bytes& image : {golden::noise(size, 5), Bytes(size, 255)}) {
      const rd_preprocess_spec spec = golden::spec(224, 224, 256);
      const Bytes fast = cropped(spec, rgb(image, width, height), *avx2_passes());
      CHECK(fast == cropped(spec, rgb(image, width, height), plain_passes()));
      if (image[0] == 255 && image[1] == 255) CHECK(fast == Bytes(fast.size(), 255));
    }
  }
}

TEST_CASE("only the pixels of the image are read, whatever lies around them") {
  const int32_t width = 37, height = 23;
  const size_t stride = 3 * 37 + 20;
  const Bytes image = golden::noise(3 * 37 * 23, 3);
  for (const int32_t shorter : {0, 16}) {
    const rd_preprocess_spec spec = golden::spec(11, 13, shorter);
    const Bytes expected = cropped(spec, rgb(image, width, height), plain_passes());
    for (const uint8_t around : {uint8_t{0}, uint8_t{255}}) {
      Bytes roomy(stride * 22 + 3 * 37, around);  // ends with the last pixel, which a sanitizer watches
      for (size_t y = 0; y < 23; ++y)
        std::copy_n(image.begin() + static_cast<ptrdiff_t>(y * 3 * 37), 3 * 37,
                    roomy.begin() + static_cast<ptrdiff_t>(y * stride));
      const rd_image view{roomy.data(), width, height, static_cast<int64_t>(stride), RD_RGB8};
      CHECK(cropped(spec, view, resnet_deploy::best_passes()) == expected);
    }
  }
}

TEST_CASE("an image smaller than the crop is refused by both sizes") {
  const Bytes image(3 * 10 * 8);
  CHECK_THROWS_WITH_AS(cropped(golden::spec(9, 10, 0), rgb(image, 10, 8), plain_passes()),
                       doctest::Contains("image is 10x8 px, the network's input 10x9 px"), resnet_deploy::Error);
  CHECK(cropped(golden::spec(8, 10, 0), rgb(image, 10, 8), plain_passes()) == image);
}

TEST_CASE("a specification out of range is refused by field and value") {
  const Bytes image(3 * 4 * 4);
  const auto refused = [&](const rd_preprocess_spec& spec, const char* text) {
    CHECK_THROWS_WITH_AS(cropped(spec, rgb(image, 4, 4), plain_passes()), doctest::Contains(text),
                         resnet_deploy::Error);
  };
  const rd_preprocess_spec good = golden::spec(2, 2, 3);
  rd_preprocess_spec bad = good;
  bad.version = 2;
  refused(bad, "version 2 is not 1");
  refused(golden::spec(0, 2, 3), "height_px is 0, expected 1 to 16384");
  refused(golden::spec(2, 16385, 0), "width_px is 16385");
  refused(golden::spec(2, 4, 3), "resize_shorter_px is 3, expected 4 to");
  bad = good;
  bad.std[1] = 0.0F;
  refused(bad, "std[1] 0.0");
  bad = good;
  bad.mean[2] = std::strtof("nan", nullptr);
  refused(bad, "mean[2] is nan");
}
