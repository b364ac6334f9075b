#include "session.h"

#include <algorithm>
#include <cstring>

#include "failure.h"
#include "tensors.h"

namespace resnet_deploy::backend {
namespace {

constexpr std::uintptr_t kAlignment = 256;  // what setTensorAddress asks for; cudaMalloc gives it

void check_pointer(const char* what, const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  if (address != 0 && address % kAlignment == 0) return;
  throw Failure(RD_INVALID_ARGUMENT, std::string("the address of the ") + what + " is " + std::to_string(address) +
                                         ", expected GPU memory at a multiple of " + std::to_string(kAlignment));
}

}  // namespace

TensorRtSession::TensorRtSession(TensorRtModel& model, std::int32_t max_batch)
    : model_(model), profile_(model.profile_for(max_batch)), max_batch_(max_batch) {
  const CurrentDevice current(model.gpu());
  const Listening listening(model.log(), model.log_user());
  auto gpu = std::make_unique<Resources>();
  gpu->context = model.make_context(profile_, gpu->stream.get(), listening);
  gpu->stream.synchronize();  // the profile is set on it
  gpu_ = std::move(gpu);
}

TensorRtSession::~TensorRtSession() {
  try {
    const CurrentDevice current(model_.gpu());
    const Listening listening(model_.log(), model_.log_user());
    gpu_->order.wait();  // a caller's stream may still be running
    gpu_->context.reset();
    gpu_.reset();
  } catch (const std::exception& error) {  // a GPU that was lost
    model_.log()(model_.log_user(), RD_LOG_ERROR, error.what());
  }
}

void TensorRtSession::run(const void* input, const std::int64_t dims[4], float* output) {
  const std::size_t given_bytes = input_bytes(model_.input_element(), dims);
  check_sizes(dims);
  const CurrentDevice current(model_.gpu());
  const Listening listening(model_.log(), model_.log_user());
  Resources& gpu = *gpu_;
  const std::int64_t rows = std::max(dims[0], profile_.min[0]);
  const std::size_t row_bytes = given_bytes / static_cast<std::size_t>(dims[0]);
  const std::size_t num_bytes = row_bytes * static_cast<std::size_t>(rows);
  const std::size_t out_row_bytes = static_cast<std::size_t>(model_.num_outputs()) * sizeof(float);
  gpu.order.wait();  // for what the caller enqueued: the memory may grow
  gpu.input.reserve(num_bytes);
  gpu.output.reserve(out_row_bytes * static_cast<std::size_t>(rows));
  auto* staged = static_cast<unsigned char*>(gpu.input.host());
  std::memcpy(staged, input, given_bytes);
  for (std::size_t at = given_bytes; at < num_bytes; at += row_bytes) {
    std::memcpy(staged + at, staged + given_bytes - row_bytes, row_bytes);
  }
  const CUstream stream = gpu.stream.get();
  gpu.input.to_device(num_bytes, stream);
  launch({rows, dims[1], dims[2], dims[3]}, gpu.input.device(), gpu.output.device(), stream, listening);
  const std::size_t out_bytes = out_row_bytes * static_cast<std::size_t>(dims[0]);
  gpu.output.to_host(out_bytes, stream);
  gpu.stream.synchronize();
  std::memcpy(output, gpu.output.host(), out_bytes);
}

void TensorRtSession::enqueue(const void* input, const std::int64_t dims[4], float* output, CUstream stream) {
  input_bytes(model_.input_element(), dims);
  check_sizes(dims);
  check_pointer("input", input);
  check_pointer("output", output);
  if (dims[0] < profile_.min[0]) {
    throw Failure(RD_INVALID_ARGUMENT, "a batch of " + std::to_string(dims[0]) + ", the engine's smallest is " +
                                           std::to_string(profile_.min[0]) +
                                           "; fill it up, or run it from host memory");
  }
  const CurrentDevice current(model_.gpu());
  const Listening listening(model_.log(), model_.log_user());
  gpu_->order.begin(stream);
  launch({dims[0], dims[1], dims[2], dims[3]}, input, output, stream, listening);
  gpu_->order.end(stream);
}

void TensorRtSession::check_sizes(const std::int64_t dims[4]) const {
  check_batch(dims[0], max_batch_);
  for (std::size_t axis = 1; axis < 4; ++axis) {
    if (dims[axis] >= profile_.min[axis] && dims[axis] <= profile_.max[axis]) continue;
    const bool pixels = model_.input_element() == RD_UINT8;
    throw Failure(pixels ? RD_BAD_IMAGE : RD_INVALID_ARGUMENT,
                  "an input of " + text_of_shape({dims, dims + 4}) + ", the engine takes " +
                      text_of_shape({profile_.min.begin(), profile_.min.end()}) + " to " +
                      text_of_shape({profile_.max.begin(), profile_.max.end()}) +
                      (pixels ? "; resize the image, or build the engine for more sizes" : ""));
  }
}

void TensorRtSession::launch(const std::array<std::int64_t, 4>& sizes, const void* input, void* output, CUstream stream,
                             const Listening& listening) {
  nvinfer1::IExecutionContext& context = *gpu_->context;
  const auto refused = [&](const std::string& what) {
    sizes_ = {};  // what the context was told is not sure any more
    return Failure(RD_RUN_FAILED, model_.file() + ": " + what + ": " + listening.said());
  };
  if (sizes != sizes_) {
    nvinfer1::Dims shape{};
    shape.nbDims = 4;
    std::copy(sizes.begin(), sizes.end(), shape.d);
    if (!context.setInputShape(model_.input_name().c_str(), shape)) {
      throw refused("the shape " + text_of_shape({sizes.begin(), sizes.end()}) + " is refused");
    }
    const nvinfer1::Dims result = context.getTensorShape(model_.output_name().c_str());
    if (result.nbDims != 2 || result.d[0] != sizes[0] || result.d[1] != model_.num_outputs()) {
      throw refused("the output is not [" + std::to_string(sizes[0]) + ", " + std::to_string(model_.num_outputs()) +
                    "]");
    }
    sizes_ = sizes;
  }
  // The type of an input's address has no const; an input is not written.
  if (!context.setTensorAddress(model_.input_name().c_str(), const_cast<void*>(input)) ||
      !context.setTensorAddress(model_.output_name().c_str(), output)) {
    throw refused("an address is refused");
  }
  if (!context.enqueueV3(stream)) throw refused("the engine failed to run");
}

}  // namespace resnet_deploy::backend
