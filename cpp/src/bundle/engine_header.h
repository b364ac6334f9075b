// What the first bytes of an engine say, without any NVIDIA library, against what the manifest says.
//
// Observed, not specified by NVIDIA: magic at 0 ("ftrt" TensorRT, "vtrt" TensorRT-RTX), version in the bytes 24..27;
// for TensorRT-RTX the length of the file at 16 and the mask of GPU targets at 32, all little-endian.
#ifndef RESNET_DEPLOY_BUNDLE_ENGINE_HEADER_H
#define RESNET_DEPLOY_BUNDLE_ENGINE_HEADER_H

#include <cstdint>
#include <string>
#include <string_view>

#include "bundle/manifest.h"

namespace resnet_deploy {

constexpr std::size_t kEngineHeaderBytes = 64;

struct EngineHeader {
  std::string product;            // "tensorrt" or "tensorrt-rtx"
  std::string version;            // "1.7.1.116"
  std::uint64_t size_bytes = 0;   // of TensorRT-RTX; else 0
  std::uint32_t target_mask = 0;  // of TensorRT-RTX; else 0
};

// Throws Error(RD_DAMAGED): another magic, or too short.
EngineHeader read_engine_header(std::string_view bytes, const std::string& file);

// Throws Error(RD_DAMAGED): product, version, length or targets are not the manifest's.
void check_engine_header(std::string_view bytes, const BundleModel& model);

}  // namespace resnet_deploy

#endif
