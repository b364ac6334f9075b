#include "golden.h"

#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>

namespace golden {

std::vector<uint8_t> file(const std::string& name) {
  std::ifstream stream(RD_GOLDEN_FOLDER + name, std::ios::binary);
  if (!stream) throw std::runtime_error(RD_GOLDEN_FOLDER + name + " can not be opened");
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

nlohmann::json document() { return nlohmann::json::parse(file("golden.json")); }

std::string sha256(const void* bytes, size_t num_bytes) {
  std::array<unsigned char, 32> digest;
  if (EVP_Digest(bytes, num_bytes, digest.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("SHA-256 failed");
  }
  std::string text;
  for (const unsigned char byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

rd_preprocess_spec spec(int32_t height, int32_t width, int32_t resize_shorter) {
  return {sizeof(rd_preprocess_spec), 1, height, width, resize_shorter, {0.485F, 0.456F, 0.406F},
          {0.229F, 0.224F, 0.225F}};
}

std::vector<uint8_t> noise(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

}  // namespace golden
