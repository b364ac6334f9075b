#include "failure.h"

#include <algorithm>
#include <cstring>

namespace resnet_deploy::backend {

void put_error(rd_backend_error* error, const char* text) noexcept {
  if (error == nullptr) return;
  std::size_t length = std::min(std::strlen(text), sizeof error->text - 1);
  // a character of several bytes is not cut in two
  if (text[length] != '\0') {
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0U) == 0x80U) --length;
  }
  std::memcpy(error->text, text, length);
  error->text[length] = '\0';
}

}  // namespace resnet_deploy::backend
