#include "pixels/orientation.h"

#include <cstring>
#include <utility>

namespace resnet_deploy {
namespace {

constexpr uint32_t kOrientationTag = 0x0112;
constexpr uint32_t kShortType = 3;
constexpr size_t kEntryBytes = 12;

// Reads numbers of either byte order; the caller has checked that they are inside.
class TiffBytes {
 public:
  TiffBytes(const uint8_t* bytes, bool is_big_endian) : bytes_(bytes), is_big_endian_(is_big_endian) {}

  uint32_t u16(size_t at) const {
    const uint32_t a = bytes_[at], b = bytes_[at + 1];
    return is_big_endian_ ? (a << 8 | b) : (b << 8 | a);
  }
  uint32_t u32(size_t at) const {
    const uint32_t a = u16(at), b = u16(at + 2);
    return is_big_endian_ ? (a << 16 | b) : (b << 16 | a);
  }

 private:
  const uint8_t* bytes_;
  bool is_big_endian_;
};

}  // namespace

int tiff_orientation(const uint8_t* bytes, size_t num_bytes) {
  if (num_bytes < 8) return kUpright;
  const bool is_big_endian = std::memcmp(bytes, "MM\0*", 4) == 0;
  if (!is_big_endian && std::memcmp(bytes, "II*\0", 4) != 0) return kUpright;
  const TiffBytes tiff(bytes, is_big_endian);
  const size_t directory = tiff.u32(4);
  if (directory > num_bytes - 2) return kUpright;
  const size_t num_entries = tiff.u16(directory);
  size_t entry = directory + 2;
  for (size_t i = 0; i < num_entries && num_bytes - entry >= kEntryBytes; ++i, entry += kEntryBytes) {
    if (tiff.u16(entry) != kOrientationTag) continue;
    const uint32_t value = tiff.u16(entry + 8);
    const bool is_one_short = tiff.u16(entry + 2) == kShortType && tiff.u32(entry + 4) == 1;
    return is_one_short && value >= 1 && value <= 8 ? static_cast<int>(value) : kUpright;
  }
  return kUpright;
}

Pixels turned(const Pixels& stored, int orientation) {
  const bool swaps_sides = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const int64_t row = static_cast<int64_t>(stored.row_bytes());
  int64_t step_x = from_right ? -3 : 3;
  int64_t step_y = from_bottom ? -row : row;
  const uint8_t* first = stored.data() + (from_right ? row - 3 : 0) + (from_bottom ? row * (stored.height() - 1) : 0);
  if (swaps_sides) std::swap(step_x, step_y);
  Pixels out(swaps_sides ? stored.height() : stored.width(), swaps_sides ? stored.width() : stored.height());
  for (int32_t y = 0; y < out.height(); ++y) {
    uint8_t* to = out.row(y);
    const uint8_t* from = first + step_y * y;
    for (int32_t x = 0; x < out.width(); ++x) std::memcpy(to + 3 * static_cast<int64_t>(x), from + step_x * x, 3);
  }
  return out;
}

}  // namespace resnet_deploy
