// What the manifest says of a model's tensors against what the runtime found in the file.
#ifndef RESNET_DEPLOY_BACKENDS_TENSORS_H
#define RESNET_DEPLOY_BACKENDS_TENSORS_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "backend.h"

namespace resnet_deploy::backend {

struct FoundTensor {
  std::string name;
  std::string element;              // "float32", "uint8", or the runtime's word for another type
  std::vector<std::int64_t> shape;  // -1 where any size is taken
};

// Throws RD_ENGINE_REFUSED, naming both sides. Outputs that are not asked for are allowed, further inputs are not.
void check_tensors(const rd_model_source& source, const std::vector<FoundTensor>& inputs,
                   const std::vector<FoundTensor>& outputs);

// Throws RD_INVALID_ARGUMENT where the core is of another ABI than its numbers say, or a field is missing.
void check_source(const rd_model_source* source);

// Throws RD_INVALID_ARGUMENT where a session can not be that large; `limit` 0: there is none.
void check_max_batch(const std::string& file, std::int32_t max_batch, std::int32_t limit);

// Throws RD_INVALID_ARGUMENT where a run is larger than its session.
void check_batch(std::int64_t batch, std::int64_t max_batch);

// Bytes of an input of these sizes. Throws RD_INVALID_ARGUMENT: a size below 1, wrong channels, or over 2^40 bytes.
std::size_t input_bytes(rd_element element, const std::int64_t dims[4]);

// Writes what a runtime is into `info`, cut off where it does not fit.
void fill_info(rd_model_info* info, const std::string& runtime, const std::string& device, std::int32_t max_batch);

std::string text_of_shape(const std::vector<std::int64_t>& shape);  // "[-1, 3, 224, 224]"

// The versions of NVIDIA's and other libraries, "1.7.1.116", as numbers; what is no number ends them.
std::vector<int> numbers_of_version(const std::string& version);

}  // namespace resnet_deploy::backend
#endif
