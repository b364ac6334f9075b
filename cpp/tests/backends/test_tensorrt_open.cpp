// The modules tensorrt and tensorrt_rtx against the stand-ins: the order of the checks when an engine is opened, and
// every refusal.
#include <cstdint>
#include <utility>

#include "stand_in_engines.h"

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

using resnet_deploy::tests::control;
using resnet_deploy::tests::engine_of_floats;
using resnet_deploy::tests::engine_of_pixels;
using resnet_deploy::tests::fail;
using resnet_deploy::tests::module_under_test;
using resnet_deploy::tests::OpenModel;
using resnet_deploy::tests::Source;
using resnet_deploy::tests::source_of;
using resnet_deploy::tests::stand_in_version;

namespace {

void refused(const Source& source, rd_status status, const std::vector<std::string>& words) {
  const long alive = control().alive;
  {
    OpenModel model(module_under_test(), source);
    CHECK_MESSAGE(model.outcome.status == status, model.outcome.status << " " << model.outcome.error);
    for (const std::string& word : words) {
      CHECK_MESSAGE(model.outcome.error.find(word) != std::string::npos, model.outcome.error << " has no " << word);
    }
  }
  CHECK(control().failures == 0);
  CHECK(control().alive == alive);
}

}  // namespace

TEST_CASE("a driver without a GPU is said, and asked again the next time") {
  fail("cuInit");
  refused(source_of(engine_of_floats()), RD_NO_DRIVER, {"no GPU", "CUDA_ERROR_NO_DEVICE", "CUDA 13.0", "ONNX"});
  control().num_devices = 0;
  refused(source_of(engine_of_floats()), RD_NO_DRIVER, {"lists none"});
  control().num_devices = 1;
  Source source = source_of(engine_of_floats());
  source.device = 1;
  refused(source, RD_INVALID_ARGUMENT, {"CUDA device 1", "0 to 0"});
}

TEST_CASE("the table says what the module is and takes") {
  const rd_backend& table = module_under_test().table();
  CHECK(std::string(table.name) == RD_NAME);
  CHECK(table.takes("engine", RD_PRODUCT) == 1);
  CHECK(table.takes("engine", "") == 0);
  CHECK(table.takes("onnx", "") == 0);
  CHECK(module_under_test().entry()(RD_BACKEND_ABI + 1) == nullptr);
}

TEST_CASE("the checks come in their order, each naming both sides") {
  Source source = source_of(engine_of_floats());
  source.compute_capabilities = {75, 120};
  source.version = "1.2.3.4";
  refused(source, RD_VERSION_MISMATCH, {"sums.engine", "1.2.3.4", stand_in_version(), "never cross releases"});
  source.version = "new";
  refused(source, RD_BAD_MANIFEST, {"\"new\""});
  source.version = stand_in_version();
  refused(source, RD_WRONG_GPU, {"7.5, 12.0", "Stand-in GPU has 8.9"});
  source.compute_capabilities.clear();
  source.bytes.pop_back();
  refused(source, RD_ENGINE_REFUSED,
          {"sums.engine", stand_in_version(), "Stand-in GPU", "8.9", "CUDA 13.0", "not an engine"});
}

TEST_CASE("a hardware compatible engine runs on its smallest compute capability and above") {
  Source source = source_of(engine_of_floats());
  source.compute_capabilities = {89, 80};
  const int own = control().capability;
  const auto opens_on = [&](int capability) {
    control().capability = capability;
    return OpenModel(module_under_test(), source).outcome.status;
  };
  source.hardware_compatible = true;
  CHECK(opens_on(80) == RD_OK);
  CHECK(opens_on(86) == RD_OK);
  CHECK(opens_on(90) == RD_OK);
  CHECK(opens_on(75) == RD_WRONG_GPU);
  refused(source, RD_WRONG_GPU, {"8.9, 8.0 and later", "Stand-in GPU has 7.5"});
  source.hardware_compatible = false;
  CHECK(opens_on(80) == RD_OK);
  CHECK(opens_on(90) == RD_WRONG_GPU);
  CHECK(opens_on(86) == RD_WRONG_GPU);
  control().capability = own;
}

TEST_CASE("what the engine has and the manifest says otherwise is refused") {
  StandInEngine engine = engine_of_floats();
  engine.num_outputs = 5;
  refused(source_of(engine), RD_ENGINE_REFUSED, {"[-1, 5]", "[-1, 4]"});
  engine = engine_of_floats();
  engine.output_is_half = 1;
  refused(source_of(engine), RD_ENGINE_REFUSED, {"float16", "float32"});
  engine = engine_of_floats();
  engine.num_output_tensors = 2;
  refused(source_of(engine), RD_ENGINE_REFUSED, {"2 outputs"});
  engine = engine_of_floats();
  engine.on_host = 1;
  refused(source_of(engine), RD_ENGINE_REFUSED, {"images", "plain order"});
  Source source = source_of(engine_of_pixels());
  source.input_element = RD_FLOAT32;
  refused(source, RD_ENGINE_REFUSED, {"uint8", "float32"});
  source = source_of(engine_of_floats());
  source.output_name = "scores";
  refused(source, RD_ENGINE_REFUSED, {"scores", "logits"});
}

TEST_CASE("a failure inside open is refused with the library's words, and nothing stays behind") {
  const Source source = source_of(engine_of_floats());
  fail("createInferRuntime");
  refused(source, RD_NO_BACKEND, {"makes no runtime", "was told  to fail"});  // a line break is no part of a message
  fail("deserializeCudaEngine");
  refused(source, RD_ENGINE_REFUSED, {"deserializeCudaEngine was told"});
  fail("cuDevicePrimaryCtxRetain");
  refused(source, RD_OUT_OF_MEMORY, {"Stand-in GPU", "CUDA_ERROR_OUT_OF_MEMORY"});
  fail("getIOTensorName");
  refused(source, RD_ENGINE_REFUSED, {"no name"});
  fail("getProfileShape");
  refused(source, RD_ENGINE_REFUSED, {"[]", "images"});
#if RD_TENSORRT_RTX
  fail("createRuntimeConfig");
  refused(source, RD_ENGINE_REFUSED, {"configuration"});
#endif
}

#if RD_TENSORRT_RTX
TEST_CASE("what TensorRT-RTX says of an engine becomes a status") {
  const Source source = source_of(engine_of_floats());
  const std::pair<std::uint64_t, rd_status> cases[] = {
      {1, RD_VERSION_MISMATCH}, {2, RD_WRONG_GPU},       {4, RD_NO_DRIVER}, {8, RD_ENGINE_REFUSED},
      {16, RD_OUT_OF_MEMORY},   {32, RD_ENGINE_REFUSED}, {64, RD_NO_DRIVER}};
  control().validity = 2;
  for (const auto& [diagnostics, status] : cases) {
    control().diagnostics = diagnostics;
    refused(source, status, {"diagnostics " + std::to_string(diagnostics)});
  }
  control().diagnostics = 0;  // "could not ask": deserialising decides
  refused(source, RD_OK, {});
  control().validity = 1;
  OpenModel model(module_under_test(), source);
  CHECK(model.outcome.status == RD_OK);
  CHECK(model.log.text().find("slower") != std::string::npos);
  control().validity = 0;
}

TEST_CASE("refused CUDA graphs are a warning") {
  fail("setCudaGraphStrategy");
  OpenModel model(module_under_test(), source_of(engine_of_floats()));
  CHECK(model.outcome.status == RD_OK);
  CHECK(model.log.text().find("2 sums.engine: runs without CUDA graphs") != std::string::npos);
}
#endif
