// The module `onnxruntime`: ONNX models on the CPU.
#include <cstring>

#include "entry.h"
#include "model.h"

namespace {

using Functions = resnet_deploy::backend::Entry<resnet_deploy::backend::OrtModel, resnet_deploy::backend::OrtRunner>;

std::int32_t takes(const char* format, const char*) { return std::strcmp(format, "onnx") == 0 ? 1 : 0; }

constexpr rd_backend kBackend = Functions::table("onnxruntime", takes);

}  // namespace

extern "C" RD_API const rd_backend* rd_backend_entry(std::uint32_t core_abi) {
  return core_abi == RD_BACKEND_ABI ? &kBackend : nullptr;
}
