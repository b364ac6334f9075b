#include "model.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "failure.h"
#include "onnx_check.h"
#include "tensors.h"

namespace resnet_deploy::backend {
namespace {

// OpenVINO's exceptions begin with files and lines of its own source; the last line is what happened.
std::string last_line(const std::string& text) {
  const std::size_t end = text.find_last_not_of(" \r\n\t");
  if (end == std::string::npos) return "no reason given";
  const std::size_t begin = text.find_last_of('\n', end);
  const std::string line = text.substr(begin == std::string::npos ? 0 : begin + 1);
  return line.substr(0, line.find_last_not_of(" \r\n\t") + 1);
}

std::string version() {
  // "2026.4.1-21000-...": what is behind the first hyphen is the build
  const std::string build = ov::get_openvino_version().buildNumber;
  return "OpenVINO " + build.substr(0, build.find('-'));
}

ov::AnyMap settings(std::int32_t num_threads) {
  // f32: the plugin otherwise computes float layers in bfloat16 on processors that have it. Q/DQ layers run in INT8.
  ov::AnyMap map = {ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                    ov::hint::inference_precision(ov::element::f32)};
  if (num_threads > 0) {
    // The plugin's number is of all its streams together; ours is of one request. As many requests run at the same time
    // as there are processors for.
    const auto processors = static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
    const std::int32_t streams = std::max(1, processors / num_threads);
    map.insert(ov::num_streams(ov::streams::Num(streams)));
    map.insert(ov::inference_num_threads(num_threads * streams));
  }
  return map;
}

ov::CompiledModel compile(const rd_model_source& source) {
  const std::string bytes(static_cast<const char*>(source.bytes), source.num_bytes);
  check_onnx(bytes, source.file);
  try {
    ov::Core core;
    return core.compile_model(core.read_model(bytes, ov::Tensor()), "CPU", settings(source.num_threads));
  } catch (const std::exception& error) {
    throw Failure(RD_ENGINE_REFUSED, std::string(source.file) + ": " + version() +
                                         " can not compile it: " + last_line(error.what()) +
                                         "; open it with another backend, or export it again");
  }
}

FoundTensor found(const ov::Output<const ov::Node>& port) {
  FoundTensor tensor;
  const auto& names = port.get_names();
  tensor.name = names.empty() ? port.get_node()->get_friendly_name() : port.get_any_name();
  const ov::element::Type type = port.get_element_type();
  tensor.element = type == ov::element::f32 ? "float32" : type == ov::element::u8 ? "uint8" : type.get_type_name();
  const ov::PartialShape shape = port.get_partial_shape();
  if (shape.rank().is_dynamic()) return tensor;
  for (const ov::Dimension& size : shape) tensor.shape.push_back(size.is_static() ? size.get_length() : -1);
  return tensor;
}

std::vector<FoundTensor> found(const std::vector<ov::Output<const ov::Node>>& ports) {
  std::vector<FoundTensor> tensors;
  for (const auto& port : ports) tensors.push_back(found(port));
  return tensors;
}

}  // namespace

OpenVinoModel::OpenVinoModel(const rd_model_source& source)
    : compiled_(compile(source)),
      input_element_(source.input_element),
      num_outputs_(static_cast<std::size_t>(source.num_outputs)),
      file_(source.file) {
  check_tensors(source, found(compiled_.inputs()), found(compiled_.outputs()));
  input_ = compiled_.input(source.input_name);
  output_ = compiled_.output(source.output_name);
}

std::string OpenVinoModel::runtime() const { return version(); }

OpenVinoSession::OpenVinoSession(OpenVinoModel& model, std::int32_t max_batch)
    : model_(model), request_(model.make_request()), max_batch_(max_batch) {}

void OpenVinoSession::run(const void* input, const std::int64_t dims[4], float* output) {
  input_bytes(model_.input_element(), dims);
  check_batch(dims[0], max_batch_);
  ov::Shape shape;
  for (int axis = 0; axis < 4; ++axis) shape.push_back(static_cast<std::size_t>(dims[axis]));
  try {
    // The request reads the caller's memory where it is. The tensor's type has no const; an input is not written.
    request_.set_tensor(model_.input(), ov::Tensor(model_.input().get_element_type(), shape, const_cast<void*>(input)));
    request_.infer();
    const ov::Tensor result = request_.get_tensor(model_.output());
    const ov::Shape wanted = {shape[0], model_.num_outputs()};
    if (result.get_shape() != wanted) {
      throw Failure(RD_RUN_FAILED, model_.file() + ": the output is " + result.get_shape().to_string() + ", expected " +
                                       wanted.to_string());
    }
    std::memcpy(output, result.data<float>(), result.get_byte_size());
  } catch (const ov::Exception& error) {
    throw Failure(RD_RUN_FAILED, model_.file() + ": OpenVINO failed: " + last_line(error.what()));
  }
}

}  // namespace resnet_deploy::backend
