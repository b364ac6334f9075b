#include "model.h"

#include <vector>

#include "failure.h"
#include "onnx_check.h"
#include "onnx_types.h"
#include "tensors.h"

namespace resnet_deploy::backend {
namespace {

// It rounds float biases to int32 in steps of input scale * weight scale, which clips those of weak channels: silently
// wrong logits. See microsoft/onnxruntime pull requests 22889 and 22020.
constexpr const char* kAlwaysWrong = "WeightBiasQuantization";
// The first two move DequantizeLinear to where FP8 is no type of ONNX; the third drops a Relu before an FP8
// QuantizeLinear, where negative values then come through. The list's separator is ";": with the "," that the header
// speaks of, nothing is switched off (seen in 1.31).
constexpr const char* kWrongInFp8 =
    "WeightBiasQuantization;QDQPropagationTransformer;QDQSelectorActionTransformer;ReluQuantRewrite";
constexpr const char* kDisabledKey = "optimization.disable_specified_optimizers";

const char* name_of_type(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return "float32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return "uint8";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return "float16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return "int64";
    default:
      return "another type";
  }
}

// The name, type and shape of input or output `index`, by the three functions of the API that tell them.
template <typename GetName, typename GetType>
FoundTensor found(const OrtLibrary& library, const OrtSession* session, std::size_t index, GetName get_name,
                  GetType get_type) {
  const OrtApi& api = library.api();
  const auto check = [&](OrtStatus* result) { library.check(result, RD_ENGINE_REFUSED, "a tensor of the model"); };
  OrtAllocator* allocator = nullptr;
  check(api.GetAllocatorWithDefaultOptions(&allocator));
  char* name = nullptr;
  check(get_name(session, index, allocator, &name));
  FoundTensor tensor;
  tensor.name = name;
  check(api.AllocatorFree(allocator, name));
  OrtHolder<OrtTypeInfo> type(api.ReleaseTypeInfo);
  check(get_type(session, index, type.out()));
  const OrtTensorTypeAndShapeInfo* info = nullptr;  // owned by `type`
  check(api.CastTypeInfoToTensorInfo(type.get(), &info));
  if (info == nullptr) {
    tensor.element = "no tensor";
    return tensor;
  }
  ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  check(api.GetTensorElementType(info, &element));
  tensor.element = name_of_type(element);
  std::size_t rank = 0;
  check(api.GetDimensionsCount(info, &rank));
  tensor.shape.resize(rank);
  check(api.GetDimensions(info, tensor.shape.data(), rank));
  return tensor;
}

void check_session(const rd_model_source& source, const OrtLibrary& library, const OrtSession* session) {
  const OrtApi& api = library.api();
  std::size_t num_inputs = 0;
  std::size_t num_outputs = 0;
  library.check(api.SessionGetInputCount(session, &num_inputs), RD_ENGINE_REFUSED, source.file);
  library.check(api.SessionGetOutputCount(session, &num_outputs), RD_ENGINE_REFUSED, source.file);
  std::vector<FoundTensor> inputs;
  std::vector<FoundTensor> outputs;
  for (std::size_t index = 0; index < num_inputs; ++index) {
    inputs.push_back(found(library, session, index, api.SessionGetInputName, api.SessionGetInputTypeInfo));
  }
  for (std::size_t index = 0; index < num_outputs; ++index) {
    outputs.push_back(found(library, session, index, api.SessionGetOutputName, api.SessionGetOutputTypeInfo));
  }
  check_tensors(source, inputs, outputs);
}

}  // namespace

OrtModel::OrtModel(const rd_model_source& source)
    : library_(OrtLibrary::get()),
      session_(library_.api().ReleaseSession),
      memory_(library_.api().ReleaseMemoryInfo),
      file_(source.file),
      input_name_(source.input_name),
      output_name_(source.output_name),
      input_element_(source.input_element),
      num_outputs_(source.num_outputs) {
  open(source);
  check_session(source, library_, session_.get());
  library_.check(library_.api().CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, memory_.out()), RD_INTERNAL,
                 file_);
}

void OrtModel::open(const rd_model_source& source) {
  const OrtApi& api = library_.api();
  check_onnx({static_cast<const char*>(source.bytes), source.num_bytes}, source.file);
  const char* disabled = has_fp8_weights(source.bytes, source.num_bytes) ? kWrongInFp8 : kAlwaysWrong;
  OrtHolder<OrtSessionOptions> options(api.ReleaseSessionOptions);
  const auto check = [&](OrtStatus* result) { library_.check(result, RD_INTERNAL, file_); };
  check(api.CreateSessionOptions(options.out()));
  check(api.SetSessionLogSeverityLevel(options.get(), ORT_LOGGING_LEVEL_FATAL));
  check(api.SetSessionGraphOptimizationLevel(options.get(), ORT_ENABLE_ALL));
  check(api.SetIntraOpNumThreads(options.get(), source.num_threads));
  check(api.AddSessionConfigEntry(options.get(), kDisabledKey, disabled));
  library_.check(
      api.CreateSessionFromArray(library_.environment(), source.bytes, source.num_bytes, options.get(), session_.out()),
      RD_ENGINE_REFUSED, file_ + ": " + runtime() + " can not open it");
}

void OrtModel::run(const void* input, const std::int64_t dims[4], float* output) {
  const OrtApi& api = library_.api();
  const std::size_t num_bytes = input_bytes(input_element_, dims);
  const auto check = [&](OrtStatus* result) { library_.check(result, RD_RUN_FAILED, file_ + ": ONNX Runtime failed"); };
  const auto type =
      input_element_ == RD_UINT8 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  OrtHolder<OrtValue> from(api.ReleaseValue);
  OrtHolder<OrtValue> to(api.ReleaseValue);
  // The tensor's type has no const; an input is not written.
  check(api.CreateTensorWithDataAsOrtValue(memory_.get(), const_cast<void*>(input), num_bytes, dims, 4, type,
                                           from.out()));
  const std::int64_t shape[2] = {dims[0], num_outputs_};
  const std::size_t out_bytes = static_cast<std::size_t>(shape[0] * shape[1]) * sizeof(float);
  check(api.CreateTensorWithDataAsOrtValue(memory_.get(), output, out_bytes, shape, 2,
                                           ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, to.out()));
  const char* const inputs[] = {input_name_.c_str()};
  const char* const outputs[] = {output_name_.c_str()};
  const OrtValue* const values[] = {from.get()};
  OrtValue* results[] = {to.get()};
  check(api.Run(session_.get(), nullptr, inputs, values, 1, outputs, 1, results));
}

void OrtRunner::run(const void* input, const std::int64_t dims[4], float* output) {
  check_batch(dims[0], max_batch_);
  model_.run(input, dims, output);
}

}  // namespace resnet_deploy::backend
