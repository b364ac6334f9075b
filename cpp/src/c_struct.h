// Structs that cross the C ABI and begin with struct_size: a caller may have been compiled against another header.
#ifndef RESNET_DEPLOY_C_STRUCT_H
#define RESNET_DEPLOY_C_STRUCT_H

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "error.h"

namespace resnet_deploy {

// What the caller filled in, over `defaults`: fields that an older caller does not have keep them; fields that only a
// newer header has must be zero, as this library would ignore them.
template <class Struct>
Struct read_c_struct(const Struct* given, const Struct& defaults, const char* name) {
  Struct read = defaults;
  if (given == nullptr) return read;
  const std::size_t size = given->struct_size;
  if (size < sizeof(std::size_t) || size > 65536) {
    throw Error(RD_INVALID_ARGUMENT, std::string(name) + ".struct_size is " + std::to_string(size) + ", expected " +
                                         std::to_string(sizeof(Struct)) + "; call " + name + "_init first");
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  if (size > sizeof(Struct) &&
      std::any_of(bytes + sizeof(Struct), bytes + size, [](unsigned char b) { return b != 0; })) {
    throw Error(RD_INVALID_ARGUMENT, std::string(name) + " sets a field that this library (" +
                                         std::to_string(sizeof(Struct)) + " of " + std::to_string(size) +
                                         " bytes) does not know; install a newer one");
  }
  std::memcpy(&read, given, std::min(size, sizeof(Struct)));
  read.struct_size = sizeof(Struct);
  return read;
}

// As much of `filled` as the caller's struct has room for; what only a newer header has is zeroed.
template <class Struct>
void write_c_struct(const Struct& filled, Struct* out, const char* name) {
  if (out == nullptr) throw Error(RD_INVALID_ARGUMENT, std::string(name) + " is NULL, expected a struct to fill");
  const std::size_t size = out->struct_size;
  if (size < sizeof(std::size_t) || size > 65536) {
    throw Error(RD_INVALID_ARGUMENT, std::string(name) + ".struct_size is " + std::to_string(size) +
                                         ", expected sizeof(" + name + ") = " + std::to_string(sizeof(Struct)));
  }
  auto* bytes = reinterpret_cast<unsigned char*>(out);
  std::memset(bytes, 0, size);
  std::memcpy(bytes, &filled, std::min(size, sizeof(Struct)));
  out->struct_size = size;
}

}  // namespace resnet_deploy

#endif
