#include "pixels/jpeg_header.h"

#include <cstring>

#include "pixels/orientation.h"

namespace resnet_deploy {
namespace {

constexpr int kStartOfScan = 0xDA;
constexpr int kEndOfImage = 0xD9;
constexpr int kApp1 = 0xE1;
constexpr char kExif[] = {'E', 'x', 'i', 'f', 0, 0};

bool is_frame(int marker) {  // C4, C8 and CC are tables
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

bool is_alone(int marker) { return marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8); }

// The marker at or behind `*at`, which is moved behind it; -1 at the end.
int next_marker(const uint8_t* bytes, size_t num_bytes, size_t* at) {
  while (*at < num_bytes && bytes[*at] != 0xFF) ++*at;
  while (*at < num_bytes && bytes[*at] == 0xFF) ++*at;
  return *at < num_bytes ? bytes[(*at)++] : -1;
}

}  // namespace

JpegHeader read_jpeg_header(const uint8_t* bytes, size_t num_bytes) {
  JpegHeader header;
  bool has_exif = false;
  size_t at = 2;
  for (;;) {
    const int marker = next_marker(bytes, num_bytes, &at);
    if (marker < 0 || marker == kStartOfScan || marker == kEndOfImage) return header;
    if (is_alone(marker)) continue;
    if (num_bytes - at < 2) return header;
    const size_t length = static_cast<size_t>(bytes[at]) << 8 | bytes[at + 1];
    if (length < 2 || length > num_bytes - at) return header;
    const uint8_t* segment = bytes + at + 2;
    if (is_frame(marker) && header.frame_marker == 0) header.frame_marker = marker;
    if (marker == kApp1 && !has_exif && length >= 2 + sizeof kExif && std::memcmp(segment, kExif, sizeof kExif) == 0) {
      has_exif = true;
      header.orientation = tiff_orientation(segment + sizeof kExif, length - 2 - sizeof kExif);
    }
    at += length;
  }
}

}  // namespace resnet_deploy
