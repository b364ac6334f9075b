#include "onnx_types.h"

#include <cstdint>

#include "protobuf_fields.h"

namespace resnet_deploy::backend {
namespace {

// Field numbers of onnx.proto, which never change.
constexpr std::uint64_t kModelGraph = 7;
constexpr std::uint64_t kGraphInitializer = 5;
constexpr std::uint64_t kTensorDataType = 2;
constexpr std::uint64_t kFloat8E4M3FN = 17;

bool is_fp8(ProtobufFields tensor) {
  while (tensor.next()) {
    if (tensor.is(kTensorDataType, ProtobufFields::kVarint)) return tensor.value == kFloat8E4M3FN;
  }
  return false;
}

bool has_fp8(ProtobufFields graph) {
  while (graph.next()) {
    if (graph.is(kGraphInitializer, ProtobufFields::kBytes) && is_fp8(ProtobufFields(graph.content))) return true;
  }
  return false;
}

}  // namespace

bool has_fp8_weights(const void* onnx, std::size_t num_bytes) noexcept {
  ProtobufFields model({static_cast<const char*>(onnx), num_bytes});
  while (model.next()) {
    if (model.is(kModelGraph, ProtobufFields::kBytes) && has_fp8(ProtobufFields(model.content))) return true;
  }
  return false;
}

}  // namespace resnet_deploy::backend
