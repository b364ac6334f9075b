// Memory, streams and events of the current device, freed with their owners.
#ifndef RESNET_DEPLOY_BACKENDS_CUDA_MEMORY_H
#define RESNET_DEPLOY_BACKENDS_CUDA_MEMORY_H

#include <cuda.h>

#include <cstddef>

namespace resnet_deploy::backend {

// Device memory with a page-locked twin on the host, through which alone copies are asynchronous. It only ever grows.
class StagedMemory {
 public:
  StagedMemory() = default;
  ~StagedMemory();
  StagedMemory(const StagedMemory&) = delete;
  StagedMemory& operator=(const StagedMemory&) = delete;

  // What was in it is lost where it grows. The stream that used it must be idle.
  void reserve(std::size_t num_bytes);

  void* device() const noexcept;
  void* host() const noexcept { return host_; }
  void to_device(std::size_t num_bytes, CUstream stream) const;
  void to_host(std::size_t num_bytes, CUstream stream) const;

 private:
  void free() noexcept;
  CUdeviceptr device_ = 0;
  void* host_ = nullptr;
  std::size_t num_bytes_ = 0;
};

class CudaStream {
 public:
  CudaStream();
  ~CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  CUstream get() const noexcept { return stream_; }
  void synchronize() const;

 private:
  CUstream stream_ = nullptr;
};

// Keeps the work of one session in order across the streams it comes on.
class CudaOrder {
 public:
  CudaOrder();
  ~CudaOrder();
  CudaOrder(const CudaOrder&) = delete;
  CudaOrder& operator=(const CudaOrder&) = delete;

  void begin(CUstream stream);  // what follows on `stream` waits for what was last ended
  void end(CUstream stream);
  void wait() const noexcept;  // for what was last ended

 private:
  CUevent event_ = nullptr;
  bool used_ = false;
};

}  // namespace resnet_deploy::backend
#endif
