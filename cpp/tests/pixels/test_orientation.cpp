#include <doctest/doctest.h>

#include <string>

#include "golden.h"
#include "pixels/orientation.h"

using resnet_deploy::tiff_orientation;

namespace {

int of(const std::string& block) {
  const std::vector<uint8_t> exact(block.begin(), block.end());  // a sanitizer watches its end
  return tiff_orientation(exact.data(), exact.size());
}

const std::string kBig("MM\0*\0\0\0\10\0\1\1\22\0\3\0\0\0\1\0\6\0\0\0\0\0\0", 26);
const std::string kLittle("II*\0\10\0\0\0\1\0\22\1\3\0\1\0\0\0\10\0\0\0\0\0\0\0", 26);

std::string with(std::string block, size_t at, char byte) {
  block[at] = byte;
  return block;
}

}  // namespace

TEST_CASE("the tag is read in both byte orders") {
  CHECK(of(kBig) == 6);
  CHECK(of(kLittle) == 8);
}

TEST_CASE("a block that is cut off, damaged or says nonsense leaves the image upright") {
  for (size_t size = 0; size < 22; ++size) CHECK(of(kBig.substr(0, size)) == 1);
  CHECK(of(with(kBig, 0, 'X')) == 1);
  CHECK(of(with(kBig, 7, 25)) == 1);      // the directory begins beyond the end
  CHECK(of(with(kBig, 4, '\377')) == 1);  // or far beyond
  CHECK(of(with(kBig, 9, 0)) == 1);       // no entries
  CHECK(of(with(kBig, 8, '\377')) == 6);  // more entries than there are bytes
  CHECK(of(with(kBig, 13, 4)) == 1);      // another type
  CHECK(of(with(kBig, 17, 2)) == 1);      // two values
  CHECK(of(with(kBig, 19, 0)) == 1);
  CHECK(of(with(kBig, 19, 9)) == 1);
}

TEST_CASE("noise is never read beyond its end") {
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    std::vector<uint8_t> bytes = golden::noise(seed % 64, seed);
    const std::string head = seed % 2 == 0 ? kBig : kLittle;
    for (size_t i = 0; i < bytes.size() && i < 8 + seed % 8; ++i) bytes[i] = static_cast<uint8_t>(head[i]);
    const int orientation = tiff_orientation(bytes.data(), bytes.size());
    CHECK((orientation >= 1 && orientation <= 8));
  }
}

TEST_CASE("the eight ways to turn two by three pixels") {
  resnet_deploy::Pixels stored(3, 2);
  for (int32_t y = 0; y < 2; ++y) {
    for (int32_t x = 0; x < 9; ++x) stored.row(y)[x] = static_cast<uint8_t>(10 * y + x / 3);  // 00 01 02 / 10 11 12
  }
  const std::vector<std::vector<int>> expected = {{0, 1, 2, 10, 11, 12}, {2, 1, 0, 12, 11, 10}, {12, 11, 10, 2, 1, 0},
                                                  {10, 11, 12, 0, 1, 2}, {0, 10, 1, 11, 2, 12}, {10, 0, 11, 1, 12, 2},
                                                  {12, 2, 11, 1, 10, 0}, {2, 12, 1, 11, 0, 10}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    CAPTURE(orientation);
    const resnet_deploy::Pixels out = resnet_deploy::turned(stored, orientation);
    CHECK(out.width() == (orientation < 5 ? 3 : 2));
    for (size_t i = 0; i < 6; ++i) {
      for (size_t c = 0; c < 3; ++c) CHECK(out.data()[3 * i + c] == expected[static_cast<size_t>(orientation - 1)][i]);
    }
  }
}
