// An ONNX model in ONNX Runtime's CPU provider.
#ifndef RESNET_DEPLOY_BACKENDS_ONNXRUNTIME_MODEL_H
#define RESNET_DEPLOY_BACKENDS_ONNXRUNTIME_MODEL_H

#include <cstdint>
#include <string>

#include "api.h"
#include "backend.h"

namespace resnet_deploy::backend {

class OrtModel {
 public:
  explicit OrtModel(const rd_model_source& source);

  const std::string& file() const { return file_; }
  std::string runtime() const { return "ONNX Runtime " + library_.version(); }
  std::string device() const { return "CPU"; }
  std::int32_t max_batch() const { return 0; }

  // Any number of threads may run one model: the tensors are the caller's memory.
  void run(const void* input, const std::int64_t dims[4], float* output);

 private:
  void open(const rd_model_source& source);

  const OrtLibrary& library_;
  OrtHolder<OrtSession> session_;
  OrtHolder<OrtMemoryInfo> memory_;
  std::string file_, input_name_, output_name_;
  rd_element input_element_;
  std::int64_t num_outputs_;
};

class OrtRunner {
 public:
  OrtRunner(OrtModel& model, std::int32_t max_batch) : model_(model), max_batch_(max_batch) {}
  void run(const void* input, const std::int64_t dims[4], float* output);

 private:
  OrtModel& model_;
  std::int64_t max_batch_;
};

}  // namespace resnet_deploy::backend
#endif
