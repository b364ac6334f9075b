#include "onnx_types.h"

#include <cstdint>

namespace resnet_deploy::backend {
namespace {

// Field numbers of onnx.proto, which never change.
constexpr std::uint64_t kModelGraph = 7;
constexpr std::uint64_t kGraphInitializer = 5;
constexpr std::uint64_t kTensorDataType = 2;
constexpr std::uint64_t kFloat8E4M3FN = 17;

enum WireType : std::uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// Walks over the fields of one message; what reaches over its end stops the walk.
struct Message {
  const std::uint8_t* at;
  const std::uint8_t* end;
  std::uint64_t field = 0;
  std::uint64_t wire_type = 0;
  std::uint64_t number = 0;               // of a varint
  const std::uint8_t* content = nullptr;  // of bytes, up to `at`

  bool read_varint(std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && at < end; shift += 7) {
      const std::uint8_t byte = *at++;
      value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
      if ((byte & 0x80U) == 0) return true;
    }
    return false;
  }

  bool skip(std::uint64_t length) {
    if (length > static_cast<std::uint64_t>(end - at)) return false;
    content = at;
    at += length;
    return true;
  }

  bool next() {
    std::uint64_t key = 0;
    std::uint64_t length = 0;
    if (at >= end || !read_varint(key)) return false;
    field = key >> 3U;
    wire_type = key & 7U;
    switch (wire_type) {
      case kVarint:
        return read_varint(number);
      case kFixed64:
        return skip(8);
      case kFixed32:
        return skip(4);
      case kBytes:
        return read_varint(length) && skip(length);
      default:
        return false;
    }
  }

  bool is_message(std::uint64_t wanted) const { return field == wanted && wire_type == kBytes; }
  Message inner() const { return {content, at}; }
};

bool is_fp8(Message tensor) {
  while (tensor.next()) {
    if (tensor.field == kTensorDataType && tensor.wire_type == kVarint) return tensor.number == kFloat8E4M3FN;
  }
  return false;
}

bool has_fp8(Message graph) {
  while (graph.next()) {
    if (graph.is_message(kGraphInitializer) && is_fp8(graph.inner())) return true;
  }
  return false;
}

}  // namespace

bool has_fp8_weights(const void* onnx, std::size_t num_bytes) noexcept {
  const auto* bytes = static_cast<const std::uint8_t*>(onnx);
  Message model{bytes, bytes + num_bytes};
  while (model.next()) {
    if (model.is_message(kModelGraph) && has_fp8(model.inner())) return true;
  }
  return false;
}

}  // namespace resnet_deploy::backend
