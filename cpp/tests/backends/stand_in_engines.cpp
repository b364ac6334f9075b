#include "stand_in_engines.h"

#include <NvInferVersion.h>

#include <cstring>

namespace resnet_deploy::tests {

const LoadedModule& module_under_test() {
  static const LoadedModule loaded(RD_MODULE);
  return loaded;
}

StandInControl& control() { return *stand_in_control(); }

const std::string& stand_in_version() {
  static const std::string version = std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR) + "." +
                                     std::to_string(NV_TENSORRT_PATCH) + "." + std::to_string(NV_TENSORRT_BUILD);
  return version;
}

StandInEngine engine_of_floats() {
  StandInEngine engine;
  engine.num_profiles = 2;
  const std::int64_t sizes[4] = {0, 3, 6, 5};
  for (int profile = 0; profile < 2; ++profile) {
    std::memcpy(engine.min[profile], sizes, sizeof sizes);
    std::memcpy(engine.max[profile], sizes, sizeof sizes);
  }
  engine.min[0][0] = 1;
  engine.max[0][0] = 8;
  engine.min[1][0] = 2;
  engine.max[1][0] = 4;
  return engine;
}

StandInEngine engine_of_pixels() {
  StandInEngine engine;
  engine.takes_pixels = 1;
  const std::int64_t min[4] = {1, 4, 4, 3};
  const std::int64_t max[4] = {4, 64, 64, 3};
  std::memcpy(engine.min[0], min, sizeof min);
  std::memcpy(engine.max[0], max, sizeof max);
  return engine;
}

Source source_of(const StandInEngine& engine) {
  Source source;
  source.bytes.assign(reinterpret_cast<const char*>(&engine), sizeof engine);
  source.file = "sums.engine";
  source.format = "engine";
  source.product = RD_PRODUCT;
  source.version = stand_in_version();
  source.compute_capabilities = {86, 89};
  source.input_element = engine.takes_pixels != 0 ? RD_UINT8 : RD_FLOAT32;
  return source;
}

void fail(const char* function, int failures) {
  std::strncpy(control().failing, function, sizeof control().failing - 1);
  control().failures = failures;
}

}  // namespace resnet_deploy::tests
