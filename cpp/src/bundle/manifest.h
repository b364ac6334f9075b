// bundle.json as plain structs: checked, of one schema.
#ifndef RESNET_DEPLOY_BUNDLE_MANIFEST_H
#define RESNET_DEPLOY_BUNDLE_MANIFEST_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "resnet_deploy/c_api.h"

namespace resnet_deploy {

constexpr const char* kSchema = "resnet-deploy/bundle/1";
constexpr int kMaxClasses = 100000;
constexpr int kMaxSidePx = 16384;

struct BundleFile {
  std::string path;
  std::string sha256;
  std::uint64_t size_bytes = 0;
};

struct SelfTest {
  std::vector<float> expected;
  double max_abs_error = 0;
  std::string measured_on;
};

struct BundleModel {
  std::string path;
  std::string format;   // "onnx" or "engine"
  std::string product;  // "tensorrt", "tensorrt-rtx"; "" for ONNX
  std::string version;  // of the product; "" for ONNX
  std::string precision;
  std::vector<std::int32_t> compute_capabilities;  // major * 10 + minor
  bool hardware_compatible = false;
  std::string input_name;
  bool has_fixed_batch = false;  // of 1
  bool takes_pixels = false;     // uint8 [N, H, W, 3] of any size; else float32 [N, 3, H, W]
  std::string output_name;
  std::int32_t output_size = 0;
  std::int32_t max_batch = 0;  // 0: no limit
  SelfTest self_test;
};

struct Manifest {
  std::string name;
  std::string version;  // the maker's
  std::string net;
  std::int32_t num_classes = 0;
  std::string output;  // "logits", "softmax" or "features"
  rd_preprocess_spec preprocess{};
  std::string labels;  // path; "" for none
  std::string golden_image;
  std::string golden_pixels_sha256;
  std::string licences;
  std::vector<BundleFile> files;
  std::vector<BundleModel> models;
};

// Throws Error(RD_BAD_MANIFEST): not JSON, another schema, a field unknown, missing, or out of range.
Manifest parse_manifest(std::string_view text);

}  // namespace resnet_deploy

#endif
