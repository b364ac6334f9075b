// Which types the weights of an ONNX file have, read from its protobuf bytes without a protobuf library.
#ifndef RESNET_DEPLOY_BACKENDS_ONNX_TYPES_H
#define RESNET_DEPLOY_BACKENDS_ONNX_TYPES_H

#include <cstddef>

namespace resnet_deploy::backend {

// Whether an initializer of the graph is FLOAT8E4M3FN. Bytes that are no protobuf have none: the runtime refuses them.
bool has_fp8_weights(const void* onnx, std::size_t num_bytes) noexcept;

}  // namespace resnet_deploy::backend
#endif
