#include "engine_file.h"

#include <sstream>

namespace resnet_deploy::test {

std::string engine_file(const std::string& magic, const std::string& version, std::uint32_t target_mask,
                        std::size_t num_bytes) {
  std::string bytes(num_bytes, '\x5a');
  bytes.replace(0, 4, magic);
  for (std::size_t i = 0; i < 8; ++i) bytes[16 + i] = static_cast<char>(num_bytes >> (8 * i));
  std::istringstream numbers(version);
  std::string number;
  for (std::size_t i = 24; std::getline(numbers, number, '.'); ++i) bytes[i] = static_cast<char>(std::stoi(number));
  for (std::size_t i = 0; i < 4; ++i) bytes[32 + i] = static_cast<char>(target_mask >> (8 * i));
  return bytes;
}

}  // namespace resnet_deploy::test
