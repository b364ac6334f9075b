#include <doctest/doctest.h>

#include "error.h"
#include "golden.h"
#include "pixels/decode.h"
#include "pixels/preprocess.h"

using resnet_deploy::DecodeOptions;
using resnet_deploy::Pixels;

namespace {

std::string sha256_of(const Pixels& pixels) {
  return golden::sha256(pixels.data(), pixels.row_bytes() * static_cast<size_t>(pixels.height()));
}

Pixels decoded(const std::string& name, const DecodeOptions& options = {}) {
  const std::vector<uint8_t> bytes = golden::file(name);
  return resnet_deploy::decode(bytes.data(), bytes.size(), options);
}

}  // namespace

TEST_CASE("every golden image is decoded to its pixels, as stored and turned") {
  DecodeOptions turn;
  turn.apply_orientation = true;
  const nlohmann::json document = golden::document();
  CHECK(document["images"].size() > 40);
  for (const nlohmann::json& image : document["images"]) {
    const std::string name = image["file"];
    CAPTURE(name);
    const Pixels stored = decoded(name);
    CHECK(stored.width() == image["width_px"]);
    CHECK(stored.height() == image["height_px"]);
    CHECK(sha256_of(stored) == image["rgb_sha256"]);
    CHECK(sha256_of(decoded(name, turn)) == image["turned_sha256"]);
  }
}

TEST_CASE("every golden crop and tensor has its bytes") {
  const nlohmann::json document = golden::document();
  CHECK(document["crops"].size() > 20);
  for (const nlohmann::json& crop : document["crops"]) {
    CAPTURE(crop.dump());
    const Pixels pixels = decoded(crop["file"]);
    const rd_preprocess_spec spec = golden::spec(crop["height_px"], crop["width_px"], crop["resize_shorter_px"]);
    std::vector<uint8_t> bytes(3 * static_cast<size_t>(spec.height_px) * static_cast<size_t>(spec.width_px));
    std::vector<float> tensor(bytes.size());
    resnet_deploy::crop_pixels(spec, pixels.view(), bytes.data());
    CHECK(golden::sha256(bytes.data(), bytes.size()) == crop["crop_sha256"]);
    resnet_deploy::preprocess(spec, pixels.view(), tensor.data());
    CHECK(golden::sha256(tensor.data(), 4 * tensor.size()) == crop["tensor_sha256"]);
  }
}

TEST_CASE("what is no whole image of the contract is refused") {
  const nlohmann::json document = golden::document();
  CHECK(document["refused"].size() > 5);
  for (const std::string name : document["refused"]) {
    CAPTURE(name);
    CHECK_THROWS_WITH_AS(decoded(name), doctest::Contains("image can not be decoded"), resnet_deploy::Error);
  }
}

TEST_CASE("an image of more pixels than allowed is refused by both numbers") {
  DecodeOptions few;
  few.max_pixels = 21 * 29 - 1;
  for (const char* name : {"rgb8.png", "444.jpg"}) {
    CHECK_THROWS_WITH_AS(decoded(name, few), doctest::Contains("29x21 px is more than max_pixels, 608"),
                         resnet_deploy::Error);
    few.max_pixels = 21 * 29;
    CHECK(decoded(name, few).width() == 29);
    few.max_pixels = 21 * 29 - 1;
  }
}

TEST_CASE("a file is named, whether it is missing or damaged") {
  CHECK_THROWS_WITH_AS(resnet_deploy::decode_file("/nowhere/a.jpg"),
                       doctest::Contains("/nowhere/a.jpg: can not be opened"), resnet_deploy::Error);
  CHECK_THROWS_WITH_AS(resnet_deploy::decode_file(RD_GOLDEN_FOLDER "cut.jpg"),
                       doctest::Contains("golden/cut.jpg: image"), resnet_deploy::Error);
  CHECK_THROWS_AS(resnet_deploy::decode_file(RD_GOLDEN_FOLDER), resnet_deploy::Error);
  CHECK(resnet_deploy::decode_file(RD_GOLDEN_FOLDER "444.jpg").width() == 29);
}
