#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "golden.h"
#include "resnet_deploy/c_api.h"

TEST_CASE("decode, crop and preprocess through the C ABI") {
  const std::vector<uint8_t> bytes = golden::file("picture-61x45.png");
  rd_pixels* pixels = nullptr;
  REQUIRE(rd_decode(bytes.data(), bytes.size(), nullptr, &pixels) == RD_OK);
  const rd_image image = rd_pixels_image(pixels);
  CHECK(image.width_px == 61);
  CHECK(image.height_px == 45);
  const rd_preprocess_spec spec = golden::spec(2, 2, 3);
  std::vector<uint8_t> crop(12);
  std::vector<float> tensor(12);
  CHECK(rd_crop_pixels(&spec, &image, crop.data()) == RD_OK);
  CHECK(rd_preprocess(&spec, &image, tensor.data()) == RD_OK);
  const float green = (static_cast<float>(crop[3 * 3 + 1]) / 255.0F - spec.mean[1]) / spec.std[1];
  CHECK(tensor[4 + 3] == green);
  rd_pixels_free(pixels);
  rd_pixels_free(nullptr);
}

TEST_CASE("options are read as far as the caller's struct goes") {
  const std::string path = RD_GOLDEN_FOLDER "orientation6.jpg";
  rd_decode_options options;
  rd_decode_options_init(&options);
  CHECK(options.apply_orientation == 0);
  options.apply_orientation = 1;
  rd_pixels* pixels = nullptr;
  REQUIRE(rd_decode_file(path.c_str(), &options, &pixels) == RD_OK);
  CHECK(rd_pixels_image(pixels).width_px == 8);
  rd_pixels_free(pixels);
  options.max_pixels = 100;
  CHECK(rd_decode_file(path.c_str(), &options, &pixels) == RD_BAD_IMAGE);
  CHECK(pixels == nullptr);
  CHECK(std::strstr(rd_last_error(), "max_pixels, 100") != nullptr);
  options.struct_size = offsetof(rd_decode_options, max_pixels);
  REQUIRE(rd_decode_file(path.c_str(), &options, &pixels) == RD_OK);
  rd_pixels_free(pixels);
  options.struct_size = sizeof options;
  options.max_pixels = -1;
  CHECK(rd_decode_file(path.c_str(), &options, &pixels) == RD_INVALID_ARGUMENT);
}

TEST_CASE("null pointers and missing files have their status") {
  rd_pixels* pixels = nullptr;
  CHECK(rd_decode(nullptr, 0, nullptr, &pixels) == RD_INVALID_ARGUMENT);
  CHECK(rd_decode_file("/nowhere/a.png", nullptr, &pixels) == RD_NOT_FOUND);
  CHECK(rd_decode_file("/", nullptr, &pixels) == RD_BAD_IMAGE);
  CHECK(std::strstr(rd_last_error(), "/: is a folder, expected a JPEG or PNG file") != nullptr);
  CHECK(rd_pixels_image(nullptr).data == nullptr);
  const rd_preprocess_spec spec = golden::spec(1, 1, 0);
  float out[3];
  CHECK(rd_preprocess(&spec, nullptr, out) == RD_INVALID_ARGUMENT);
  CHECK(std::strstr(rd_last_error(), "rd_preprocess: the input is NULL") != nullptr);
  const rd_image image{};
  CHECK(rd_preprocess(nullptr, &image, out) == RD_INVALID_ARGUMENT);
  CHECK(rd_preprocess(&spec, &image, nullptr) == RD_INVALID_ARGUMENT);
}
