// The part of NVIDIA's driver that a backend needs, loaded at run time.
//
// The driver's API and not the runtime's (cudart): its functions come from libcuda.so.1, which every machine with a GPU
// has, so that a module needs no library of a CUDA toolkit and is bound to none of its major versions.
#ifndef RESNET_DEPLOY_BACKENDS_CUDA_DRIVER_H
#define RESNET_DEPLOY_BACKENDS_CUDA_DRIVER_H

#include <cuda.h>

#include <cstddef>
#include <string>

#include "backend.h"

// cuda.h has macros that give some names a version, e.g. cuMemAlloc_v2; the table takes it over.
#define RD_CUDA_FUNCTIONS(X)   \
  X(cuGetErrorName)            \
  X(cuInit)                    \
  X(cuDriverGetVersion)        \
  X(cuDeviceGetCount)          \
  X(cuDeviceGet)               \
  X(cuDeviceGetName)           \
  X(cuDeviceGetAttribute)      \
  X(cuDevicePrimaryCtxRetain)  \
  X(cuDevicePrimaryCtxRelease) \
  X(cuCtxPushCurrent)          \
  X(cuCtxPopCurrent)           \
  X(cuMemAlloc)                \
  X(cuMemFree)                 \
  X(cuMemAllocHost)            \
  X(cuMemFreeHost)             \
  X(cuMemcpyHtoDAsync)         \
  X(cuMemcpyDtoHAsync)         \
  X(cuStreamCreate)            \
  X(cuStreamDestroy)           \
  X(cuStreamSynchronize)       \
  X(cuStreamWaitEvent)         \
  X(cuEventCreate)             \
  X(cuEventDestroy)            \
  X(cuEventRecord)             \
  X(cuEventSynchronize)

namespace resnet_deploy::backend {

struct CudaFunctions {
#define RD_MEMBER(name) decltype(&::name) name = nullptr;
  RD_CUDA_FUNCTIONS(RD_MEMBER)
#undef RD_MEMBER
};

class CudaDriver {
 public:
  // Loaded and initialised at the first call. Throws RD_NO_DRIVER, and then tries again at the next.
  static const CudaDriver& get();

  const CudaFunctions& call() const noexcept { return functions_; }
  std::string version() const;  // "CUDA 13.0": the newest that the driver serves

  // Throws RD_OUT_OF_MEMORY or `status`, naming what was done and CUDA's error.
  void check(CUresult result, const std::string& what, rd_status status = RD_RUN_FAILED) const;
  std::string name_of(CUresult result) const;

 private:
  CudaDriver();
  CudaFunctions functions_;
};

// One GPU through its primary context, which NVIDIA's own libraries use, too.
class CudaDevice {
 public:
  // Throws RD_NO_DRIVER where there is no GPU, RD_INVALID_ARGUMENT where there is none of this number.
  explicit CudaDevice(int ordinal);
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  CUcontext context() const noexcept { return context_; }
  const std::string& name() const noexcept { return name_; }
  int compute_capability() const noexcept { return compute_capability_; }  // major * 10 + minor

 private:
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  std::string name_;
  int compute_capability_ = 0;
};

// Makes a device current for a scope; the caller's own choice comes back behind it.
class CurrentDevice {
 public:
  explicit CurrentDevice(const CudaDevice& device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
};

}  // namespace resnet_deploy::backend
#endif
