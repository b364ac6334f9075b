// Pixels that we own, and the checked view of pixels that the caller owns.
#ifndef RESNET_DEPLOY_PIXELS_IMAGE_H
#define RESNET_DEPLOY_PIXELS_IMAGE_H

#include <cstddef>
#include <cstdint>
#include <memory>

#include "resnet_deploy/c_api.h"

namespace resnet_deploy {

// The longest side that the resize's integers are proven for (docs/reference/preprocess.md, bounds).
constexpr int32_t kMaxImageSide = 65535;

// RGB rows without gap.
class Pixels {
 public:
  // Not initialised: a decoder writes every byte, or the image is thrown away.
  Pixels(int32_t width, int32_t height)
      : width_(width),
        height_(height),
        bytes_(new uint8_t[3 * static_cast<size_t>(width) * static_cast<size_t>(height)]) {}

  int32_t width() const { return width_; }
  int32_t height() const { return height_; }
  size_t row_bytes() const { return 3 * static_cast<size_t>(width_); }
  uint8_t* row(int32_t y) { return bytes_.get() + row_bytes() * static_cast<size_t>(y); }
  const uint8_t* data() const { return bytes_.get(); }
  rd_image view() const { return {bytes_.get(), width_, height_, 0, RD_RGB8}; }

 private:
  int32_t width_;
  int32_t height_;
  std::unique_ptr<uint8_t[]> bytes_;
};

// An rd_image whose sides, stride and format have been checked; the stride is never 0.
struct ImageView {
  const uint8_t* data;
  int32_t width;
  int32_t height;
  size_t stride;
  rd_pixel_format format;

  const uint8_t* row(int32_t y) const { return data + stride * static_cast<size_t>(y); }
};

// Bytes of one pixel; 0 for a number that is no format.
size_t bytes_per_pixel(rd_pixel_format format);

// Raises RD_INVALID_ARGUMENT for a null pointer, an unknown format or a stride shorter than a row; RD_BAD_IMAGE for
// sides outside 1..kMaxImageSide.
ImageView checked_view(const rd_image& image);

// `count` pixels of row `y` from column `x` as RGB.
void copy_rgb(const ImageView& image, int32_t y, int32_t x, int32_t count, uint8_t* out);

}  // namespace resnet_deploy

#endif
