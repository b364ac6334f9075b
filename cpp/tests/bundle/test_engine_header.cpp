#include <doctest/doctest.h>

#include <string>

#include "bundle/engine_header.h"
#include "engine_file.h"
#include "refusal.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;

namespace {

BundleModel rtx_model() {
  BundleModel model;
  model.path = "x.engine";
  model.product = "tensorrt-rtx";
  model.version = "1.7.1.116";
  model.compute_capabilities = {86};
  return model;
}

std::string header_refusal(const std::string& bytes, const BundleModel& model) {
  return refusal(RD_DAMAGED, [&] { check_engine_header(bytes, model); });
}

bool has(const std::string& message, const char* part) {
  INFO(message);
  CHECK(message.find(part) != std::string::npos);
  return true;
}

}  // namespace

TEST_CASE("the header's product, version, length and targets are compared") {
  auto model = rtx_model();
  check_engine_header(engine_file("vtrt", "1.7.1.116", 0x04), model);
  has(header_refusal(engine_file("ftrt", "1.7.1.116", 0), model),
      "header says tensorrt, bundle.json says tensorrt-rtx");
  has(header_refusal(engine_file("vtrt", "1.7.1.115", 0x04), model), "version 1.7.1.115, bundle.json says 1.7.1.116");
  has(header_refusal(engine_file("vtrt", "1.7.1.116", 0x04) + "x", model), "header says 200 bytes, the file has 201");
  has(header_refusal(engine_file("vtrt", "1.7.1.116", 0x08), model), "compute capability 8.6, its header's mask 8");
  has(header_refusal(engine_file("vtrt", "1.7.1.116", 0x0c), model), "mask 12 has compute capability 8.9, bundle.json");
  has(header_refusal("\x89PNG", model), "is not a TensorRT engine");
  has(header_refusal("", model), "is not a TensorRT engine");
  has(header_refusal("vtrt", model), "cut off: 4 bytes");
  has(header_refusal(engine_file("vtrt", "1.7.1.116", 4).substr(0, 63), model), "cut off: 63 bytes");
}

TEST_CASE("an open-ended engine serves 8.0 and later, not 7.5") {
  auto model = rtx_model();
  model.compute_capabilities = {80, 86, 89, 90, 120, 121};
  check_engine_header(engine_file("vtrt", "1.7.1.116", 0x7e), model);
  model.compute_capabilities = {75};
  has(header_refusal(engine_file("vtrt", "1.7.1.116", 0x7e), model), "compute capability 7.5");
}

TEST_CASE("a TensorRT header has no length and no targets") {
  auto model = rtx_model();
  model.product = "tensorrt";
  model.version = "11.1.0.106";
  check_engine_header(engine_file("ftrt", "11.1.0.106", 0) + "more", model);
}
