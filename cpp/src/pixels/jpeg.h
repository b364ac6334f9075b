// JPEG files, by libjpeg-turbo with its defaults.
#ifndef RESNET_DEPLOY_PIXELS_JPEG_H
#define RESNET_DEPLOY_PIXELS_JPEG_H

#include <cstddef>
#include <cstdint>

#include "pixels/image.h"

namespace resnet_deploy {

bool is_jpeg(const uint8_t* bytes, size_t num_bytes);

// `orientation` is what EXIF says; the pixels are as stored.
Pixels decode_jpeg(const uint8_t* bytes, size_t num_bytes, int64_t max_pixels, int* orientation);

}  // namespace resnet_deploy

#endif
