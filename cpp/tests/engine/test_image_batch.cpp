#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bundle_writer.h"
#include "engine/image_batch.h"
#include "refusal.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;
using Batches = std::vector<std::vector<std::size_t>>;

namespace {

rd_image sized(std::int32_t width, std::int32_t height) {
  static const std::vector<std::uint8_t> kPixels(3 * 64 * 64);
  return {kPixels.data(), width, height, 0, RD_RGB8};
}

}  // namespace

TEST_CASE("prepared images of any size share a batch, cut at its limit") {
  const InputLayout layout(preprocess_spec(), false);
  const std::vector<rd_image> images{sized(20, 30), sized(64, 64), sized(30, 20), sized(20, 30), sized(9, 9)};
  CHECK(layout.split(images.data(), images.size(), 2) == Batches{{0, 1}, {2, 3}, {4}});
  CHECK(layout.split(images.data(), images.size(), 8) == Batches{{0, 1, 2, 3, 4}});
}

TEST_CASE("pixels share a batch only with those of their size") {
  const InputLayout layout(preprocess_spec(), true);
  const std::vector<rd_image> images{sized(20, 30), sized(30, 20), sized(20, 30), sized(30, 20), sized(20, 30)};
  CHECK(layout.split(images.data(), images.size(), 2) == Batches{{0, 2}, {1, 3}, {4}});
}

TEST_CASE("a size for which the graph's arithmetic is not exact is refused before anything is run") {
  const InputLayout in_graph(preprocess_spec(), true);
  const std::vector<std::uint8_t> pixels(3 * 30000);
  const rd_image thin{pixels.data(), 30000, 1, 0, RD_RGB8};
  CHECK(refusal(RD_BAD_IMAGE, [&] { in_graph.split(&thin, 1, 1); }).find("too long for the preprocessing") !=
        std::string::npos);
  CHECK(InputLayout(preprocess_spec(), false).split(&thin, 1, 1) == Batches{{0}});
}

TEST_CASE("pixels are written as RGB without gaps, whatever their format and stride") {
  const InputLayout layout(preprocess_spec(), true);
  const std::vector<std::uint8_t> bgr{3, 2, 1, 6, 5, 4, 99, 99, 9, 8, 7, 12, 11, 10};
  const rd_image image{bgr.data(), 2, 2, 8, RD_BGR8};
  TensorBuffer buffer;
  layout.prepare(image, buffer.reserve(layout.num_bytes(layout.image_dims(image))));
  const auto* out = reinterpret_cast<const std::uint8_t*>(buffer.data());
  CHECK(std::vector<std::uint8_t>(out, out + 12) == std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
}

TEST_CASE("an image that is none is refused before anything is run") {
  const InputLayout layout(preprocess_spec(), false);
  const rd_image image{nullptr, 4, 4, 0, RD_RGB8};
  refusal(RD_INVALID_ARGUMENT, [&] { layout.split(&image, 1, 1); });
  const auto flat = sized(4, 0);
  refusal(RD_BAD_IMAGE, [&] { layout.split(&flat, 1, 1); });
}

TEST_CASE("tensors begin on a cache line, and memory is kept") {
  TensorBuffer buffer;
  const auto* first = buffer.reserve(1000);
  CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
  CHECK(buffer.reserve(10) == first);
  CHECK(reinterpret_cast<std::uintptr_t>(buffer.reserve(100000)) % 64 == 0);
}
