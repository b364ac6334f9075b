// How a test steers the stand-ins for NVIDIA's driver and libraries.
//
// They prove the order of calls, the memory and the error paths of the modules, not what the real ones do. A stream
// here does its work only when somebody waits for it, so that a missing wait gives wrong numbers.
#ifndef RESNET_DEPLOY_TESTS_STAND_IN_H
#define RESNET_DEPLOY_TESTS_STAND_IN_H

#include <atomic>
#include <cstddef>
#include <cstdint>

struct StandInControl {
  int num_devices = 1;
  int capability = 89;
  // The function that fails `failures` times, e.g. "cuMemAlloc" or "enqueueV3".
  char failing[64] = "";
  int failures = 0;
  int cuda_error = 2;  // what a failing function of the driver gives; 2 is CUDA_ERROR_OUT_OF_MEMORY
  int validity = 0;    // of EngineValidity
  std::uint64_t diagnostics = 0;
  std::atomic<long> alive{0};  // objects that were made and not freed
};

// An engine of the stand-in: its bytes are this struct. It computes what data/make_models.py says.
struct StandInEngine {
  char magic[8] = {'S', 'T', 'A', 'N', 'D', 'I', 'N', '\0'};
  std::int32_t takes_pixels = 0;
  std::int32_t output_is_half = 0;
  std::int32_t num_outputs = 4;  // K
  std::int32_t num_output_tensors = 1;
  std::int32_t on_host = 0;
  std::int32_t num_profiles = 1;
  std::int64_t min[2][4] = {};
  std::int64_t max[2][4] = {};
};

struct CUstream_st;

extern "C" {
StandInControl* stand_in_control();                               // of the driver, for all
bool stand_in_fails(const char* function);                        // and counts the failure
bool stand_in_holds(const void* pointer, std::size_t num_bytes);  // whether that is GPU memory
bool stand_in_is_current();                                       // whether this thread has a device
void stand_in_push(CUstream_st* stream, void (*work)(void*), void* argument);
}

#endif
