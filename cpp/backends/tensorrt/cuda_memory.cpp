#include "cuda_memory.h"

#include <string>

#include "cuda_driver.h"

namespace resnet_deploy::backend {
namespace {

void check(CUresult result, const char* what) { CudaDriver::get().check(result, what); }

const CudaFunctions& cuda() { return CudaDriver::get().call(); }

}  // namespace

StagedMemory::~StagedMemory() { free(); }

void StagedMemory::reserve(std::size_t num_bytes) {
  if (num_bytes <= num_bytes_) return;
  free();
  const std::string size = std::to_string(num_bytes) + " bytes";
  check(cuda().cuMemAlloc(&device_, num_bytes), ("GPU memory, " + size).c_str());
  check(cuda().cuMemAllocHost(&host_, num_bytes), ("page-locked memory, " + size).c_str());
  num_bytes_ = num_bytes;
}

void StagedMemory::free() noexcept {
  if (device_ != 0) cuda().cuMemFree(device_);
  if (host_ != nullptr) cuda().cuMemFreeHost(host_);
  device_ = 0;
  host_ = nullptr;
  num_bytes_ = 0;
}

void* StagedMemory::device() const noexcept {
  return reinterpret_cast<void*>(device_);  // the driver's pointers are numbers
}

void StagedMemory::to_device(std::size_t num_bytes, CUstream stream) const {
  check(cuda().cuMemcpyHtoDAsync(device_, host_, num_bytes, stream), "copying to the GPU");
}

void StagedMemory::to_host(std::size_t num_bytes, CUstream stream) const {
  check(cuda().cuMemcpyDtoHAsync(host_, device_, num_bytes, stream), "copying from the GPU");
}

// not blocking: without that flag every launch on the default stream would wait for ours, and ours for it
CudaStream::CudaStream() { check(cuda().cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "a stream"); }

CudaStream::~CudaStream() { cuda().cuStreamDestroy(stream_); }

void CudaStream::synchronize() const { check(cuda().cuStreamSynchronize(stream_), "running on the GPU"); }

CudaOrder::CudaOrder() { check(cuda().cuEventCreate(&event_, CU_EVENT_DISABLE_TIMING), "an event"); }

CudaOrder::~CudaOrder() { cuda().cuEventDestroy(event_); }

void CudaOrder::begin(CUstream stream) {
  // also on the stream of the last time: a stream that was destroyed and another may have the same handle
  if (used_) check(cuda().cuStreamWaitEvent(stream, event_, 0), "waiting for another stream");
}

void CudaOrder::end(CUstream stream) {
  check(cuda().cuEventRecord(event_, stream), "recording an event");
  used_ = true;
}

void CudaOrder::wait() const noexcept {
  if (used_) cuda().cuEventSynchronize(event_);
}

}  // namespace resnet_deploy::backend
