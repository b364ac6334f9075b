#include "pixels/png_chunks.h"

#include <zlib.h>

#include <cstring>
#include <string>

#include "error.h"
#include "pixels/orientation.h"

namespace resnet_deploy {
namespace {

constexpr size_t kSignatureBytes = 8;
constexpr size_t kFrameBytes = 12;  // length, type, CRC
constexpr size_t kHeaderBytes = 13;
constexpr uint8_t kPaletteColour = 3;

uint32_t u32(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) << 24 | static_cast<uint32_t>(at[1]) << 16 | static_cast<uint32_t>(at[2]) << 8 |
         at[3];
}

bool is_type(const uint8_t* chunk, const char* type) { return std::memcmp(chunk + 4, type, 4) == 0; }

}  // namespace

void refuse_png(const char* reason, size_t num_bytes) {
  throw Error(RD_BAD_IMAGE, std::string("image can not be decoded: ") + reason + " (PNG, " + std::to_string(num_bytes) +
                                " bytes); remove or replace this file");
}

PngChunks check_png_chunks(const uint8_t* bytes, size_t num_bytes) {
  PngChunks chunks;
  bool needs_palette = false, has_palette = false, has_data = false, has_exif = false;
  for (size_t at = kSignatureBytes;;) {
    if (num_bytes - at < kFrameBytes) refuse_png("it is cut off", num_bytes);
    const uint8_t* chunk = bytes + at;
    const size_t length = u32(chunk);
    if (length > num_bytes - at - kFrameBytes) refuse_png("it is cut off", num_bytes);
    if (crc32(0, chunk + 4, static_cast<uInt>(length + 4)) != u32(chunk + 8 + length)) {
      refuse_png("the CRC of a chunk is wrong", num_bytes);
    }
    if (at == kSignatureBytes) {
      if (!is_type(chunk, "IHDR") || length != kHeaderBytes) refuse_png("its first chunk is no IHDR", num_bytes);
      needs_palette = chunk[8 + 9] == kPaletteColour;
    }
    has_palette = has_palette || is_type(chunk, "PLTE");
    if (is_type(chunk, "IDAT")) {
      if (needs_palette && !has_palette) refuse_png("it has no palette", num_bytes);
      has_data = true;
    }
    if (is_type(chunk, "eXIf") && !has_exif) {
      has_exif = true;
      chunks.orientation = tiff_orientation(chunk + 8, length);
    }
    at += kFrameBytes + length;
    if (is_type(chunk, "IEND")) break;
  }
  if (!has_data) refuse_png("it has no IDAT", num_bytes);
  return chunks;
}

}  // namespace resnet_deploy
