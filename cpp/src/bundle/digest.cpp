#include "bundle/digest.h"

#include <openssl/evp.h>

#include <array>

#include "error.h"

namespace resnet_deploy {

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1 || size != 32) {
    throw Error(RD_INTERNAL, "libcrypto can not compute SHA-256; check that its default provider loads");
  }
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(64);
  for (unsigned int i = 0; i < size; ++i) {
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

}  // namespace resnet_deploy
