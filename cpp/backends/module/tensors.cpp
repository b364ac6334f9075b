#include "tensors.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "failure.h"

namespace resnet_deploy::backend {
namespace {

constexpr std::int64_t kMaxBytes = std::int64_t{1} << 40;

const FoundTensor& find(const rd_model_source& source, const char* kind, const char* name,
                        const std::vector<FoundTensor>& tensors) {
  std::string names;
  for (const FoundTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
    names += (names.empty() ? "" : ", ") + tensor.name;
  }
  throw Failure(RD_ENGINE_REFUSED, std::string(source.file) + ": the manifest names the " + kind + " " + name +
                                       ", the file has " + (names.empty() ? "none" : names) +
                                       "; make the bundle again");
}

void check_tensor(const rd_model_source& source, const FoundTensor& tensor, const char* element,
                  const std::vector<std::int64_t>& shape) {
  // a size is open on either side where it is -1
  const bool fits = tensor.element == element && tensor.shape.size() == shape.size() &&
                    std::equal(shape.begin(), shape.end(), tensor.shape.begin(),
                               [](std::int64_t want, std::int64_t got) { return want < 0 || got < 0 || want == got; });
  if (fits) return;
  throw Failure(RD_ENGINE_REFUSED, std::string(source.file) + ": " + tensor.name + " is " + tensor.element + " " +
                                       text_of_shape(tensor.shape) + ", the manifest says " + element + " " +
                                       text_of_shape(shape) + "; make the bundle again");
}

void copy_text(char* out, std::size_t size, const std::string& text) {
  const std::size_t length = std::min(text.size(), size - 1);
  std::memcpy(out, text.data(), length);
  out[length] = '\0';
}

}  // namespace

void check_tensors(const rd_model_source& source, const std::vector<FoundTensor>& inputs,
                   const std::vector<FoundTensor>& outputs) {
  const bool pixels = source.input_element == RD_UINT8;
  const FoundTensor& input = find(source, "input", source.input_name, inputs);
  const FoundTensor& output = find(source, "output", source.output_name, outputs);
  if (pixels) {
    check_tensor(source, input, "uint8", {-1, -1, -1, 3});
  } else {
    check_tensor(source, input, "float32", {-1, 3, -1, -1});
  }
  check_tensor(source, output, "float32", {-1, source.num_outputs});
  if (inputs.size() > 1) {
    throw Failure(RD_ENGINE_REFUSED, std::string(source.file) + ": it has " + std::to_string(inputs.size()) +
                                         " inputs, a classifier has 1; make the bundle again");
  }
}

void check_source(const rd_model_source* source) {
  if (source == nullptr || source->struct_size < sizeof(rd_model_source)) {
    throw Failure(RD_INVALID_ARGUMENT, "the core's description of a model has " +
                                           std::to_string(source == nullptr ? 0 : source->struct_size) +
                                           " bytes, this module needs " + std::to_string(sizeof(rd_model_source)) +
                                           "; take core and module from one release");
  }
  if (source->bytes == nullptr || source->num_bytes == 0 || source->file == nullptr || source->input_name == nullptr ||
      source->output_name == nullptr || source->log == nullptr || source->num_outputs < 1 || source->num_threads < 0) {
    throw Failure(RD_INVALID_ARGUMENT, "the core's description of a model lacks a field");
  }
}

void check_max_batch(const std::string& file, std::int32_t max_batch, std::int32_t limit) {
  if (max_batch >= 1 && (limit == 0 || max_batch <= limit)) return;
  throw Failure(RD_INVALID_ARGUMENT, file + ": a session for a batch of " + std::to_string(max_batch) +
                                         ", expected 1 " + (limit == 0 ? "or more" : "to " + std::to_string(limit)));
}

void check_batch(std::int64_t batch, std::int64_t max_batch) {
  if (batch <= max_batch) return;
  throw Failure(RD_INVALID_ARGUMENT, "a batch of " + std::to_string(batch) + " in a session made for " +
                                         std::to_string(max_batch) + "; make a session with a larger max_batch");
}

std::size_t input_bytes(rd_element element, const std::int64_t dims[4]) {
  const std::vector<std::int64_t> shape(dims, dims + 4);
  const std::int64_t channels = element == RD_UINT8 ? dims[3] : dims[1];
  std::int64_t bytes = element == RD_UINT8 ? 1 : 4;
  bool fits = channels == 3;
  for (const std::int64_t size : shape) {
    fits = fits && size >= 1 && size <= kMaxBytes / bytes;
    if (!fits) break;
    bytes *= size;
  }
  if (!fits) {
    throw Failure(RD_INVALID_ARGUMENT, "an input of " + text_of_shape(shape) + " is not possible; expected " +
                                           (element == RD_UINT8 ? "[N, H, W, 3]" : "[N, 3, H, W]") +
                                           ", each at least 1");
  }
  return static_cast<std::size_t>(bytes);
}

void fill_info(rd_model_info* info, const std::string& runtime, const std::string& device, std::int32_t max_batch) {
  if (info == nullptr || info->struct_size < sizeof(rd_model_info)) {
    throw Failure(RD_INVALID_ARGUMENT,
                  "the core's struct for a model's facts is too short for this module; take core and "
                  "module from one release");
  }
  copy_text(info->runtime, sizeof info->runtime, runtime);
  copy_text(info->device, sizeof info->device, device);
  info->max_batch = max_batch;
}

std::string text_of_shape(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

std::vector<int> numbers_of_version(const std::string& version) {
  std::vector<int> numbers;
  const char* at = version.c_str();
  while (*at >= '0' && *at <= '9') {
    char* end = nullptr;
    numbers.push_back(static_cast<int>(std::strtol(at, &end, 10)));
    at = *end == '.' ? end + 1 : end;
  }
  return numbers;
}

}  // namespace resnet_deploy::backend
