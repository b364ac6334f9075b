// The modules `tensorrt` and `tensorrt_rtx`: engines on NVIDIA's GPUs.
#include <cstring>

#include "entry.h"
#include "library.h"
#include "model.h"
#include "session.h"

namespace {

using resnet_deploy::backend::TensorRtModel;
using resnet_deploy::backend::TensorRtSession;
using Functions = resnet_deploy::backend::Entry<TensorRtModel, TensorRtSession>;

std::int32_t takes(const char* format, const char* product) {
  return std::strcmp(format, "engine") == 0 && std::strcmp(product, resnet_deploy::backend::kProductName) == 0 ? 1 : 0;
}

rd_status enqueue(void* session, const void* input, const std::int64_t dims[4], float* output, void* stream,
                  rd_backend_error* error) {
  return resnet_deploy::backend::guarded(error, RD_RUN_FAILED, [&] {
    static_cast<TensorRtSession*>(session)->enqueue(input, dims, output, static_cast<CUstream>(stream));
  });
}

constexpr rd_backend kBackend = Functions::table(resnet_deploy::backend::kBackendName, takes, enqueue);

}  // namespace

extern "C" RD_API const rd_backend* rd_backend_entry(std::uint32_t core_abi) {
  return core_abi == RD_BACKEND_ABI ? &kBackend : nullptr;
}
