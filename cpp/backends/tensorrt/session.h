// One thread's way to run an engine: an execution context, a stream and memory of its own.
#ifndef RESNET_DEPLOY_BACKENDS_TENSORRT_SESSION_H
#define RESNET_DEPLOY_BACKENDS_TENSORRT_SESSION_H

#include <array>
#include <cstdint>
#include <memory>

#include "backend.h"
#include "cuda_memory.h"
#include "model.h"

namespace resnet_deploy::backend {

class TensorRtSession {
 public:
  TensorRtSession(TensorRtModel& model, std::int32_t max_batch);
  ~TensorRtSession();
  TensorRtSession(const TensorRtSession&) = delete;
  TensorRtSession& operator=(const TensorRtSession&) = delete;

  // Through page-locked memory to the GPU and back. A batch below the profile's smallest is filled up with its last
  // image.
  void run(const void* input, const std::int64_t dims[4], float* output);
  // On the GPU, on the caller's stream; the caller synchronises. Not while that stream is captured.
  void enqueue(const void* input, const std::int64_t dims[4], float* output, CUstream stream);

 private:
  // Of the GPU's objects, so that they are freed while it is current.
  struct Resources {
    CudaStream stream;
    CudaOrder order;
    StagedMemory input;
    StagedMemory output;
    std::unique_ptr<nvinfer1::IExecutionContext> context;
  };

  void check_sizes(const std::int64_t dims[4]) const;
  void launch(const std::array<std::int64_t, 4>& sizes, const void* input, void* output, CUstream stream,
              const Listening& listening);

  TensorRtModel& model_;
  const Profile& profile_;
  std::int64_t max_batch_;
  std::array<std::int64_t, 4> sizes_{};  // those that the context was told last
  std::unique_ptr<Resources> gpu_;
};

}  // namespace resnet_deploy::backend
#endif
