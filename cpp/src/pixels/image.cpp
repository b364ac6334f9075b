#include "pixels/image.h"

#include <cstring>
#include <string>

#include "error.h"

namespace resnet_deploy {

size_t bytes_per_pixel(rd_pixel_format format) {
  switch (format) {
    case RD_RGB8:
    case RD_BGR8:
      return 3;
    case RD_GRAY8:
      return 1;
    case RD_RGBA8:
    case RD_BGRA8:
      return 4;
  }
  return 0;
}

ImageView checked_view(const rd_image& image) {
  if (image.data == nullptr) {
    throw Error(RD_INVALID_ARGUMENT, "image: data is NULL; give the address of its first pixel");
  }
  const size_t pixel = bytes_per_pixel(image.format);
  if (pixel == 0) {
    throw Error(RD_INVALID_ARGUMENT, "image: pixel format " + std::to_string(static_cast<int>(image.format)) +
                                         " is unknown; expected a value of rd_pixel_format");
  }
  if (image.width_px < 1 || image.height_px < 1 || image.width_px > kMaxImageSide || image.height_px > kMaxImageSide) {
    throw Error(RD_BAD_IMAGE, "image: " + std::to_string(image.width_px) + "x" + std::to_string(image.height_px) +
                                  " px; both sides must be 1 to " + std::to_string(kMaxImageSide) + " px");
  }
  const int64_t row = static_cast<int64_t>(pixel) * image.width_px;
  if (image.stride_bytes != 0 && image.stride_bytes < row) {
    throw Error(RD_INVALID_ARGUMENT, "image: stride_bytes is " + std::to_string(image.stride_bytes) +
                                         ", but a row of " + std::to_string(image.width_px) + " px has " +
                                         std::to_string(row) + " bytes; give 0 for rows without gap");
  }
  const int64_t stride = image.stride_bytes == 0 ? row : image.stride_bytes;
  return {image.data, image.width_px, image.height_px, static_cast<size_t>(stride), image.format};
}

namespace {

template <size_t kPixel, size_t kRed, size_t kGreen, size_t kBlue>
void pick(const uint8_t* in, size_t count, uint8_t* out) {
  for (size_t i = 0; i < count; ++i) {
    out[3 * i] = in[kPixel * i + kRed];
    out[3 * i + 1] = in[kPixel * i + kGreen];
    out[3 * i + 2] = in[kPixel * i + kBlue];
  }
}

}  // namespace

void copy_rgb(const ImageView& image, int32_t y, int32_t x, int32_t count, uint8_t* out) {
  const uint8_t* in = image.row(y) + bytes_per_pixel(image.format) * static_cast<size_t>(x);
  const size_t number = static_cast<size_t>(count);
  switch (image.format) {
    case RD_RGB8:
      std::memcpy(out, in, 3 * number);
      return;
    case RD_BGR8:
      return pick<3, 2, 1, 0>(in, number, out);
    case RD_GRAY8:
      return pick<1, 0, 0, 0>(in, number, out);
    case RD_RGBA8:
      return pick<4, 0, 1, 2>(in, number, out);
    case RD_BGRA8:
      return pick<4, 2, 1, 0>(in, number, out);
  }
}

}  // namespace resnet_deploy
