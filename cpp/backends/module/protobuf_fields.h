// The fields of a protobuf message, walked over in place; enough of the format to look into an ONNX file without a
// library.
#ifndef RESNET_DEPLOY_BACKENDS_PROTOBUF_FIELDS_H
#define RESNET_DEPLOY_BACKENDS_PROTOBUF_FIELDS_H

#include <cstdint>
#include <string>
#include <string_view>

namespace resnet_deploy::backend {

// while (fields.next()) ... fields.number, .value or .content; then is_damaged() tells whether the walk came to the
// end.
struct ProtobufFields {
  enum WireType : std::uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  explicit ProtobufFields(std::string_view message) : rest(message) {}

  bool next() {
    std::uint64_t key = 0;
    std::uint64_t length = 0;
    if (rest.empty()) return false;
    is_broken = !read_varint(key);
    number = key >> 3U;
    wire_type = key & 7U;
    if (is_broken || number == 0) return fail();
    switch (wire_type) {
      case kVarint:
        return read_varint(value) || fail();
      case kFixed64:
        return take(8) || fail();
      case kFixed32:
        return take(4) || fail();
      case kBytes:
        return (read_varint(length) && take(length)) || fail();
      default:
        return fail();
    }
  }

  bool is(std::uint64_t wanted, WireType type) const { return number == wanted && wire_type == type; }
  bool is_damaged() const { return is_broken; }
  bool at_end() const { return rest.empty(); }

  std::uint64_t number = 0;
  std::uint64_t wire_type = 0;
  std::uint64_t value = 0;   // of a varint
  std::string_view content;  // of bytes and fixed sizes

  bool read_varint(std::uint64_t& into) {
    into = 0;
    for (unsigned shift = 0; shift < 64 && !rest.empty(); shift += 7) {
      const auto byte = static_cast<std::uint8_t>(rest.front());
      rest.remove_prefix(1);
      into |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
      if ((byte & 0x80U) == 0) return true;
    }
    return false;
  }

 private:
  bool take(std::uint64_t length) {
    if (length > rest.size()) return false;
    content = rest.substr(0, static_cast<std::size_t>(length));
    rest.remove_prefix(static_cast<std::size_t>(length));
    return true;
  }

  bool fail() {
    is_broken = true;
    return false;
  }

  std::string_view rest;
  bool is_broken = false;
};

}  // namespace resnet_deploy::backend
#endif
