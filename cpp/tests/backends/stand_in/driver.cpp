// The stand-in for libcuda.so.1.
#include <cuda.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "stand_in.h"

#define STAND_IN __attribute__((visibility("default")))

struct CUstream_st {
  std::deque<std::function<void()>> work;
  std::size_t num_pushed = 0;
  std::size_t num_done = 0;
};

struct CUevent_st {
  CUstream stream = nullptr;
  std::size_t mark = 0;
};

struct CUctx_st {};

namespace {

constexpr unsigned char kUnwritten = 0xA5;

StandInControl control;
std::recursive_mutex mutex;
std::map<std::uintptr_t, std::size_t> device_blocks;
std::map<std::uintptr_t, std::size_t> host_blocks;
CUstream_st default_stream;
std::vector<std::unique_ptr<CUstream_st>> streams;  // also those that were destroyed: an event may outlive its stream
CUctx_st primary;
thread_local std::vector<CUcontext> current;

using Lock = std::lock_guard<std::recursive_mutex>;

bool holds(const std::map<std::uintptr_t, std::size_t>& blocks, std::uintptr_t address, std::size_t num_bytes) {
  auto block = blocks.upper_bound(address);
  if (block == blocks.begin()) return false;
  --block;
  return address + num_bytes <= block->first + block->second;
}

void* allocate(std::map<std::uintptr_t, std::size_t>& blocks, std::size_t num_bytes) {
  const std::size_t whole = (num_bytes + 255) / 256 * 256;
  void* block = std::aligned_alloc(256, whole);
  std::memset(block, kUnwritten, whole);
  blocks[reinterpret_cast<std::uintptr_t>(block)] = num_bytes;
  ++control.alive;
  return block;
}

CUresult release(std::map<std::uintptr_t, std::size_t>& blocks, std::uintptr_t address) {
  if (blocks.erase(address) == 0) return CUDA_ERROR_INVALID_VALUE;
  --control.alive;
  std::free(reinterpret_cast<void*>(address));
  return CUDA_SUCCESS;
}

CUstream real(CUstream stream) { return stream == nullptr ? &default_stream : stream; }

void drain(CUstream stream, std::size_t mark) {
  while (stream->num_done < mark) {
    const auto work = std::move(stream->work.front());
    stream->work.pop_front();
    ++stream->num_done;
    work();
  }
}

void push(CUstream stream, std::function<void()> work) {
  real(stream)->work.push_back(std::move(work));
  ++real(stream)->num_pushed;
}

CUresult begin(const char* function) {
  if (stand_in_fails(function)) return static_cast<CUresult>(control.cuda_error);
  return current.empty() ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

CUresult copy(CUstream stream, std::uintptr_t to, std::uintptr_t from, std::size_t num_bytes, bool is_legal) {
  if (!is_legal) return CUDA_ERROR_INVALID_VALUE;
  push(stream, [=] { std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), num_bytes); });
  return CUDA_SUCCESS;
}

}  // namespace

extern "C" {

STAND_IN StandInControl* stand_in_control() { return &control; }

STAND_IN bool stand_in_fails(const char* function) {
  const Lock lock(mutex);
  if (control.failures == 0 || std::strcmp(control.failing, function) != 0) return false;
  --control.failures;
  return true;
}

STAND_IN bool stand_in_holds(const void* pointer, std::size_t num_bytes) {
  const Lock lock(mutex);
  return holds(device_blocks, reinterpret_cast<std::uintptr_t>(pointer), num_bytes);
}

STAND_IN bool stand_in_is_current() { return !current.empty(); }

STAND_IN void stand_in_push(CUstream_st* stream, void (*work)(void*), void* argument) {
  const Lock lock(mutex);
  push(stream, [=] { work(argument); });
}

STAND_IN CUresult cuGetErrorName(CUresult error, const char** name) {
  *name = error == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == CUDA_ERROR_NO_DEVICE   ? "CUDA_ERROR_NO_DEVICE"
                                            : nullptr;
  return *name == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

STAND_IN CUresult cuInit(unsigned) { return stand_in_fails("cuInit") ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS; }

STAND_IN CUresult cuDriverGetVersion(int* version) {
  *version = 13000;
  return CUDA_SUCCESS;
}

STAND_IN CUresult cuDeviceGetCount(int* count) {
  *count = control.num_devices;
  return CUDA_SUCCESS;
}

STAND_IN CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  *device = ordinal;
  return CUDA_SUCCESS;
}

STAND_IN CUresult cuDeviceGetName(char* name, int length, CUdevice) {
  std::strncpy(name, "Stand-in GPU", static_cast<std::size_t>(length));
  return CUDA_SUCCESS;
}

STAND_IN CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice) {
  const bool is_major = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
  *value = is_major ? control.capability / 10 : control.capability % 10;
  return CUDA_SUCCESS;
}

STAND_IN CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
  const Lock lock(mutex);
  if (stand_in_fails("cuDevicePrimaryCtxRetain")) return static_cast<CUresult>(control.cuda_error);
  ++control.alive;
  *context = &primary;
  return CUDA_SUCCESS;
}

STAND_IN CUresult cuDevicePrimaryCtxRelease(CUdevice) {
  const Lock lock(mutex);
  --control.alive;
  return CUDA_SUCCESS;
}

STAND_IN CUresult cuCtxPushCurrent(CUcontext context) {
  current.push_back(context);
  return CUDA_SUCCESS;
}

STAND_IN CUresult cuCtxPopCurrent(CUcontext* context) {
  if (current.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  *context = current.back();
  current.pop_back();
  return CUDA_SUCCESS;
}

STAND_IN CUresult cuMemAlloc(CUdeviceptr* pointer, std::size_t num_bytes) {
  const Lock lock(mutex);
  const CUresult result = begin("cuMemAlloc");
  if (result == CUDA_SUCCESS) *pointer = reinterpret_cast<CUdeviceptr>(allocate(device_blocks, num_bytes));
  return result;
}

STAND_IN CUresult cuMemFree(CUdeviceptr pointer) {
  const Lock lock(mutex);
  const CUresult result = begin("cuMemFree");
  return result == CUDA_SUCCESS ? release(device_blocks, pointer) : result;
}

STAND_IN CUresult cuMemAllocHost(void** pointer, std::size_t num_bytes) {
  const Lock lock(mutex);
  const CUresult result = begin("cuMemAllocHost");
  if (result == CUDA_SUCCESS) *pointer = allocate(host_blocks, num_bytes);
  return result;
}

STAND_IN CUresult cuMemFreeHost(void* pointer) {
  const Lock lock(mutex);
  const CUresult result = begin("cuMemFreeHost");
  return result == CUDA_SUCCESS ? release(host_blocks, reinterpret_cast<std::uintptr_t>(pointer)) : result;
}

STAND_IN CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, std::size_t num_bytes, CUstream stream) {
  const Lock lock(mutex);
  const CUresult result = begin("cuMemcpyHtoDAsync");
  const auto source = reinterpret_cast<std::uintptr_t>(from);
  return result != CUDA_SUCCESS ? result
                                : copy(stream, to, source, num_bytes,
                                       holds(device_blocks, to, num_bytes) && holds(host_blocks, source, num_bytes));
}

STAND_IN CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, std::size_t num_bytes, CUstream stream) {
  const Lock lock(mutex);
  const CUresult result = begin("cuMemcpyDtoHAsync");
  const auto target = reinterpret_cast<std::uintptr_t>(to);
  return result != CUDA_SUCCESS ? result
                                : copy(stream, target, from, num_bytes,
                                       holds(host_blocks, target, num_bytes) && holds(device_blocks, from, num_bytes));
}

STAND_IN CUresult cuStreamCreate(CUstream* stream, unsigned) {
  const Lock lock(mutex);
  const CUresult result = begin("cuStreamCreate");
  if (result != CUDA_SUCCESS) return result;
  streams.push_back(std::make_unique<CUstream_st>());
  *stream = streams.back().get();
  ++control.alive;
  return result;
}

STAND_IN CUresult cuStreamDestroy(CUstream stream) {
  const Lock lock(mutex);
  const CUresult result = begin("cuStreamDestroy");
  if (result != CUDA_SUCCESS) return result;
  drain(stream, stream->num_pushed);
  --control.alive;
  return result;
}

STAND_IN CUresult cuStreamSynchronize(CUstream stream) {
  const Lock lock(mutex);
  const CUresult result = begin("cuStreamSynchronize");
  if (result == CUDA_SUCCESS) drain(real(stream), real(stream)->num_pushed);
  return result;
}

STAND_IN CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
  const Lock lock(mutex);
  const CUresult result = begin("cuStreamWaitEvent");
  if (result != CUDA_SUCCESS) return result;
  push(stream, [at = *event] { drain(real(at.stream), at.mark); });
  return result;
}

STAND_IN CUresult cuEventCreate(CUevent* event, unsigned) {
  const Lock lock(mutex);
  const CUresult result = begin("cuEventCreate");
  if (result != CUDA_SUCCESS) return result;
  *event = new CUevent_st;
  ++control.alive;
  return result;
}

STAND_IN CUresult cuEventDestroy(CUevent event) {
  const Lock lock(mutex);
  const CUresult result = begin("cuEventDestroy");
  if (result != CUDA_SUCCESS) return result;
  delete event;
  --control.alive;
  return result;
}

STAND_IN CUresult cuEventRecord(CUevent event, CUstream stream) {
  const Lock lock(mutex);
  const CUresult result = begin("cuEventRecord");
  if (result == CUDA_SUCCESS) *event = {stream, real(stream)->num_pushed};
  return result;
}

STAND_IN CUresult cuEventSynchronize(CUevent event) {
  const Lock lock(mutex);
  const CUresult result = begin("cuEventSynchronize");
  if (result == CUDA_SUCCESS) drain(real(event->stream), event->mark);
  return result;
}

}  // extern "C"
