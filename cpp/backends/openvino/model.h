// An ONNX model compiled by OpenVINO's CPU plugin, and the requests that run it.
#ifndef RESNET_DEPLOY_BACKENDS_OPENVINO_MODEL_H
#define RESNET_DEPLOY_BACKENDS_OPENVINO_MODEL_H

#include <cstddef>
#include <cstdint>
#include <openvino/openvino.hpp>
#include <string>

#include "backend.h"

namespace resnet_deploy::backend {

class OpenVinoModel {
 public:
  explicit OpenVinoModel(const rd_model_source& source);

  std::string runtime() const;  // "OpenVINO 2026.4.1"
  std::string device() const { return "CPU"; }
  std::int32_t max_batch() const { return 0; }

  ov::InferRequest make_request() { return compiled_.create_infer_request(); }
  const ov::Output<const ov::Node>& input() const { return input_; }
  const ov::Output<const ov::Node>& output() const { return output_; }
  rd_element input_element() const { return input_element_; }
  std::size_t num_outputs() const { return num_outputs_; }
  const std::string& file() const { return file_; }

 private:
  ov::CompiledModel compiled_;
  ov::Output<const ov::Node> input_;
  ov::Output<const ov::Node> output_;
  rd_element input_element_;
  std::size_t num_outputs_;
  std::string file_;
};

class OpenVinoSession {
 public:
  OpenVinoSession(OpenVinoModel& model, std::int32_t max_batch);
  void run(const void* input, const std::int64_t dims[4], float* output);

 private:
  OpenVinoModel& model_;
  ov::InferRequest request_;
  std::int64_t max_batch_;
};

}  // namespace resnet_deploy::backend
#endif
