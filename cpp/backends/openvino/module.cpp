// The module `openvino`: ONNX models on the CPU.
#include <cstring>

#include "entry.h"
#include "model.h"

namespace {

using Functions =
    resnet_deploy::backend::Entry<resnet_deploy::backend::OpenVinoModel, resnet_deploy::backend::OpenVinoSession>;

std::int32_t takes(const char* format, const char*) { return std::strcmp(format, "onnx") == 0 ? 1 : 0; }

constexpr rd_backend kBackend = {sizeof(rd_backend),
                                 RD_BACKEND_ABI,
                                 "openvino",
                                 takes,
                                 Functions::open,
                                 Functions::close,
                                 Functions::create_session,
                                 Functions::destroy_session,
                                 Functions::run,
                                 nullptr};

}  // namespace

extern "C" RD_API const rd_backend* rd_backend_entry(std::uint32_t core_abi) {
  return core_abi == RD_BACKEND_ABI ? &kBackend : nullptr;
}
