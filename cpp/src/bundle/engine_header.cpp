#include "bundle/engine_header.h"

#include <algorithm>
#include <array>

#include "error.h"

namespace resnet_deploy {

namespace {

struct Target {
  std::int32_t capability;
  std::uint32_t bit;
};
constexpr std::array<Target, 6> kTargets{{{75, 0x01}, {80, 0x02}, {86, 0x04}, {89, 0x08}, {120, 0x10}, {121, 0x20}}};
// Set by a build without targets only, whose engine runs on 8.0 and later.
constexpr std::uint32_t kOpenEndedBit = 0x40;

std::uint64_t little_endian(std::string_view bytes, std::size_t offset, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = count; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[offset + i]);
  return value;
}

bool serves(std::uint32_t mask, std::int32_t capability) {
  if ((mask & kOpenEndedBit) != 0 && capability >= 80) return true;
  for (const auto& target : kTargets) {
    if (target.capability == capability) return (mask & target.bit) != 0;
  }
  return false;
}

[[noreturn]] void refuse(const std::string& file, const std::string& why) {
  throw Error(RD_DAMAGED, file + ": " + why + "; build it again with `resnet-deploy build` and bundle it again");
}

}  // namespace

EngineHeader read_engine_header(std::string_view bytes, const std::string& file) {
  EngineHeader header;
  const auto magic = bytes.substr(0, 4);
  if (magic == "ftrt") {
    header.product = "tensorrt";
  } else if (magic == "vtrt") {
    header.product = "tensorrt-rtx";
  } else {
    refuse(file, "is not a TensorRT engine: expected it to begin with \"ftrt\" or \"vtrt\"");
  }
  if (bytes.size() < kEngineHeaderBytes) {
    refuse(file, "was cut off: " + std::to_string(bytes.size()) + " bytes, an engine's header alone has 64");
  }
  for (std::size_t i = 24; i < 28; ++i) {
    header.version += (i > 24 ? "." : "") + std::to_string(static_cast<unsigned char>(bytes[i]));
  }
  if (header.product == "tensorrt-rtx") {
    header.size_bytes = little_endian(bytes, 16, 8);
    header.target_mask = static_cast<std::uint32_t>(little_endian(bytes, 32, 4));
  }
  return header;
}

void check_engine_header(std::string_view bytes, const BundleModel& model) {
  const auto header = read_engine_header(bytes, model.path);
  if (header.product != model.product) {
    refuse(model.path, "its header says " + header.product + ", bundle.json says " + model.product);
  }
  if (header.version != model.version) {
    refuse(model.path, "its header says version " + header.version + ", bundle.json says " + model.version);
  }
  if (header.product != "tensorrt-rtx") return;
  if (header.size_bytes != bytes.size()) {
    refuse(model.path, "its header says " + std::to_string(header.size_bytes) + " bytes, the file has " +
                           std::to_string(bytes.size()));
  }
  for (const auto capability : model.compute_capabilities) {
    if (serves(header.target_mask, capability)) continue;
    refuse(model.path, "bundle.json says compute capability " + std::to_string(capability / 10) + "." +
                           std::to_string(capability % 10) + ", its header's mask " +
                           std::to_string(header.target_mask) + " does not have it");
  }
  const auto& said = model.compute_capabilities;
  for (const auto& target : kTargets) {
    if ((header.target_mask & target.bit) == 0) continue;
    if (std::find(said.begin(), said.end(), target.capability) != said.end()) continue;
    refuse(model.path, "its header's mask " + std::to_string(header.target_mask) + " has compute capability " +
                           std::to_string(target.capability / 10) + "." + std::to_string(target.capability % 10) +
                           ", bundle.json does not say it");
  }
}

}  // namespace resnet_deploy
