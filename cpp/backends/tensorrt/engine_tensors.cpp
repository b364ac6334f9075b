#include "engine_tensors.h"

#include <algorithm>
#include <string>

#include "failure.h"
#include "tensors.h"

namespace resnet_deploy::backend {
namespace {

std::string name_of(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
      return "float32";
    case nvinfer1::DataType::kUINT8:
      return "uint8";
    case nvinfer1::DataType::kHALF:
      return "float16";
    default:
      return "type " + std::to_string(static_cast<int>(type)) + " of NvInfer";
  }
}

std::vector<std::int64_t> sizes_of(const nvinfer1::Dims& dims) {
  if (dims.nbDims < 0) return {};  // how a getter says that it does not know
  return {dims.d, dims.d + dims.nbDims};
}

std::array<std::int64_t, 4> four_sizes(const rd_model_source& source, const nvinfer1::Dims& dims) {
  const std::vector<std::int64_t> sizes = sizes_of(dims);
  if (sizes.size() != 4 || std::any_of(sizes.begin(), sizes.end(), [](std::int64_t size) { return size < 1; })) {
    throw Failure(RD_ENGINE_REFUSED, std::string(source.file) + ": the engine says " + text_of_shape(sizes) +
                                         " for a profile of " + source.input_name +
                                         ", expected four sizes; build it again");
  }
  return {sizes[0], sizes[1], sizes[2], sizes[3]};
}

}  // namespace

void check_engine_tensors(const rd_model_source& source, const nvinfer1::ICudaEngine& engine) {
  std::vector<FoundTensor> inputs;
  std::vector<FoundTensor> outputs;
  for (std::int32_t index = 0; index < engine.getNbIOTensors(); ++index) {
    const char* name = engine.getIOTensorName(index);
    if (name == nullptr)
      throw Failure(RD_ENGINE_REFUSED, std::string(source.file) + ": a tensor of the engine has no name");
    const bool is_input = engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
    (is_input ? inputs : outputs)
        .push_back({name, name_of(engine.getTensorDataType(name)), sizes_of(engine.getTensorShape(name))});
    if (engine.getTensorLocation(name) != nvinfer1::TensorLocation::kDEVICE ||
        engine.getTensorFormat(name) != nvinfer1::TensorFormat::kLINEAR) {
      throw Failure(RD_ENGINE_REFUSED,
                    std::string(source.file) + ": " + name +
                        " is not in plain order in GPU memory; build the engine again with linear tensors");
    }
  }
  check_tensors(source, inputs, outputs);
  if (outputs.size() > 1) {  // each would need memory of a size that nobody said
    throw Failure(RD_ENGINE_REFUSED, std::string(source.file) + ": the engine has " + std::to_string(outputs.size()) +
                                         " outputs, expected 1; export the network with one output");
  }
}

std::vector<Profile> read_profiles(const rd_model_source& source, const nvinfer1::ICudaEngine& engine) {
  const std::vector<std::int64_t> shape = sizes_of(engine.getTensorShape(source.input_name));
  if (std::none_of(shape.begin(), shape.end(), [](std::int64_t size) { return size < 0; })) {
    const auto fixed = four_sizes(source, engine.getTensorShape(source.input_name));
    return {{0, fixed, fixed}};
  }
  std::vector<Profile> profiles;
  for (std::int32_t index = 0; index < engine.getNbOptimizationProfiles(); ++index) {
    const auto sizes = [&](nvinfer1::OptProfileSelector which) {
      return four_sizes(source, engine.getProfileShape(source.input_name, index, which));
    };
    profiles.push_back({index, sizes(nvinfer1::OptProfileSelector::kMIN), sizes(nvinfer1::OptProfileSelector::kMAX)});
  }
  if (profiles.empty())
    throw Failure(RD_ENGINE_REFUSED, std::string(source.file) + ": the engine has no optimization profile");
  return profiles;
}

}  // namespace resnet_deploy::backend
