// The golden images and what they must become; made by make_golden.py.
#ifndef RESNET_DEPLOY_TESTS_GOLDEN_H
#define RESNET_DEPLOY_TESTS_GOLDEN_H

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "resnet_deploy/c_api.h"

namespace golden {

nlohmann::json document();
std::vector<uint8_t> file(const std::string& name);
std::string sha256(const void* bytes, size_t num_bytes);
// ImageNet's mean and standard deviation.
rd_preprocess_spec spec(int32_t height, int32_t width, int32_t resize_shorter);
// Reproducible bytes.
std::vector<uint8_t> noise(size_t size, uint32_t seed);

}  // namespace golden

#endif
