// A small valid bundle, which a test then spoils: 16 x 16 px, 5 classes, models of the fake backend.
#ifndef RESNET_DEPLOY_TESTS_BUNDLE_WRITER_H
#define RESNET_DEPLOY_TESTS_BUNDLE_WRITER_H

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "resnet_deploy/c_api.h"

namespace resnet_deploy::test {

constexpr std::size_t kNumClasses = 5;
constexpr std::int32_t kGoldenWidth = 40;
constexpr std::int32_t kGoldenHeight = 30;

struct BundleWriter {
  nlohmann::json manifest;                   // `files` is filled when it is written
  std::map<std::string, std::string> files;  // bytes of each path
  std::string signature;                     // "": not signed

  // One model, model.onnx, whose file holds `script` (see backends/fake); `takes_pixels`: the contract is in the graph.
  explicit BundleWriter(const std::string& script = "", bool takes_pixels = false);

  // A further model, of lower preference.
  nlohmann::json& add_model(const std::string& path, const std::string& script);
  // Into an empty or missing folder; gives its path as text.
  std::string write(const std::filesystem::path& folder) const;
  // As it is written: with sizes and hashes of the files.
  std::string manifest_text() const;
};

// RGB pixels of a picture that is smooth in places and rough in others; `seed` gives others.
std::vector<std::uint8_t> picture(std::int32_t width, std::int32_t height, std::uint32_t seed);
rd_image view(const std::vector<std::uint8_t>& pixels, std::int32_t width);
rd_preprocess_spec preprocess_spec();

// What the fake backend computes, written a second time: the oracle of the tests.
std::vector<float> fake_output(const std::vector<float>& input);
std::vector<float> fake_output_of_image(const rd_image& image);

void write_file(const std::filesystem::path& path, const std::string& bytes);
std::string sha256_text(const std::string& bytes);

}  // namespace resnet_deploy::test

#endif
