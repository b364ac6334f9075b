// An engine on one GPU, shared by the sessions that run it.
#ifndef RESNET_DEPLOY_BACKENDS_TENSORRT_MODEL_H
#define RESNET_DEPLOY_BACKENDS_TENSORRT_MODEL_H

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend.h"
#include "cuda_driver.h"
#include "library.h"

namespace resnet_deploy::backend {

// Sizes of the input that one optimization profile takes.
struct Profile {
  std::int32_t index;
  std::array<std::int64_t, 4> min;
  std::array<std::int64_t, 4> max;
};

class TensorRtModel {
 public:
  // In this order: library and header, engine and library, driver, compute capability, validity, deserialising,
  // tensors.
  explicit TensorRtModel(const rd_model_source& source);
  ~TensorRtModel();
  TensorRtModel(const TensorRtModel&) = delete;
  TensorRtModel& operator=(const TensorRtModel&) = delete;

  const std::string& file() const { return file_; }
  std::string runtime() const { return library_.title(); }
  const std::string& device() const { return device_.name(); }
  std::int32_t max_batch() const;

  const CudaDevice& gpu() const { return device_; }
  const std::string& input_name() const { return input_name_; }
  const std::string& output_name() const { return output_name_; }
  rd_element input_element() const { return input_element_; }
  std::int64_t num_outputs() const { return num_outputs_; }
  rd_log_fn log() const { return log_; }
  void* log_user() const { return log_user_; }

  // The smallest profile that takes this batch; the caller has checked it against max_batch().
  const Profile& profile_for(std::int32_t batch) const;
  // To be called with the GPU current and the library heard.
  std::unique_ptr<nvinfer1::IExecutionContext> make_context(const Profile& profile, CUstream stream,
                                                            const Listening& listening);

 private:
  void check_validity(const rd_model_source& source, const Listening& listening);
  void deserialize(const rd_model_source& source, const Listening& listening);
  void configure();

  const ProductLibrary& library_;
  std::string file_, input_name_, output_name_;
  rd_element input_element_;
  std::int64_t num_outputs_;
  rd_log_fn log_;
  void* log_user_;
  CudaDevice device_;
  // freed from the last to the first: a configuration must not outlive its engine, nor an engine its runtime
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
#if RD_TENSORRT_RTX
  std::unique_ptr<nvinfer1::IRuntimeConfig> config_;
#endif
  std::vector<Profile> profiles_;
  std::mutex making_;  // contexts of one engine are made one after the other
};

}  // namespace resnet_deploy::backend
#endif
