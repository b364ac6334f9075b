// Damaged files: refused or decoded to something, never a crash. The sanitizers are what makes these tests sharp.
#include <doctest/doctest.h>

#include <random>

#include "error.h"
#include "golden.h"
#include "pixels/decode.h"

namespace {

constexpr int kRoundsPerFile = 60;

// 1 where it was refused.
int refused(const std::vector<uint8_t>& bytes) {
  resnet_deploy::DecodeOptions options;
  options.apply_orientation = true;
  options.max_pixels = 1 << 20;
  try {
    resnet_deploy::decode(bytes.data(), bytes.size(), options);
    return 0;
  } catch (const resnet_deploy::Error& error) {
    CHECK(error.status() == RD_BAD_IMAGE);
    return 1;
  }
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  const nlohmann::json document = golden::document();
  for (const nlohmann::json& image : document["images"]) all.push_back(image["file"]);
  return all;
}

uint32_t crc_of(const uint8_t* bytes, size_t size) {
  uint32_t crc = ~0U;
  for (size_t i = 0; i < size; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (0xEDB88320U & (0U - (crc & 1U)));
  }
  return ~crc;
}

// Makes the CRC of every whole chunk right again, so that the damage reaches libpng.
void mend_chunks(std::vector<uint8_t>& png) {
  size_t at = 8;
  while (png.size() - at >= 12) {
    size_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | png[at + i];
    if (length > png.size() - at - 12) return;
    const uint32_t crc = crc_of(png.data() + at + 4, length + 4);
    for (size_t i = 0; i < 4; ++i) png[at + 8 + length + i] = static_cast<uint8_t>(crc >> (24 - 8 * i));
    at += 12 + length;
  }
}

bool is_png(const std::string& name) { return name.size() > 4 && name.substr(name.size() - 4) == ".png"; }

}  // namespace

TEST_CASE("flipped bytes") {
  std::mt19937 random(23);
  int num_refused = 0;
  int num_files = 0;
  for (const std::string& name : names()) {
    CAPTURE(name);
    const std::vector<uint8_t> whole = golden::file(name);
    for (int round = 0; round < kRoundsPerFile; ++round) {
      std::vector<uint8_t> bytes = whole;
      for (int flips = 1 + round % 4; flips > 0; --flips)
        bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
      if (is_png(name) && round % 2 == 0) mend_chunks(bytes);
      num_refused += refused(bytes);
      ++num_files;
    }
  }
  MESSAGE(num_files << " files, " << num_refused << " refused");
  CHECK(num_files > 2500);
  CHECK(num_refused > num_files / 4);
}

TEST_CASE("files that are cut off anywhere are refused") {
  for (const char* name :
       {"420.jpg", "444-progressive.jpg", "cmyk.jpg", "restart.jpg", "rgb8.png", "rgb16-interlaced.png"}) {
    CAPTURE(name);
    const std::vector<uint8_t> whole = golden::file(name);
    CHECK(refused(whole) == 0);
    for (size_t size = 0; size + 2 < whole.size(); size += 7) {
      CAPTURE(size);
      CHECK(refused({whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)}) == 1);
    }
  }
}

TEST_CASE("a progressive file of endless scans is refused") {
  const std::vector<uint8_t> whole = golden::file("444-progressive.jpg");
  size_t scan = 0;  // the second one: refines without data
  for (size_t at = 2, seen = 0; at + 1 < whole.size() && seen < 2; ++at) {
    if (whole[at] == 0xFF && whole[at + 1] == 0xDA) {
      scan = at;
      ++seen;
    }
  }
  size_t end = scan + 2;
  while (!(whole[end] == 0xFF && whole[end + 1] != 0)) ++end;
  std::vector<uint8_t> bomb(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(end));
  for (int copies = 0; copies < 300; ++copies) {
    bomb.insert(bomb.end(), whole.begin() + static_cast<ptrdiff_t>(scan), whole.begin() + static_cast<ptrdiff_t>(end));
  }
  bomb.insert(bomb.end(), {0xFF, 0xD9});
  CHECK_THROWS_WITH_AS(resnet_deploy::decode(bomb.data(), bomb.size()), doctest::Contains("more than 256 scans"),
                       resnet_deploy::Error);
}
