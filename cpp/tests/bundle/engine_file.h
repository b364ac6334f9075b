// The first bytes of an engine, as a runtime would write them.
#ifndef RESNET_DEPLOY_TESTS_ENGINE_FILE_H
#define RESNET_DEPLOY_TESTS_ENGINE_FILE_H

#include <cstdint>
#include <string>

namespace resnet_deploy::test {

// `version`: major, minor, patch, build. TensorRT-RTX ("vtrt") also says its length and its targets.
std::string engine_file(const std::string& magic, const std::string& version, std::uint32_t target_mask,
                        std::size_t num_bytes = 200);

}  // namespace resnet_deploy::test

#endif
