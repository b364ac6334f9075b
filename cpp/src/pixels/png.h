// PNG files, by libpng.
#ifndef RESNET_DEPLOY_PIXELS_PNG_H
#define RESNET_DEPLOY_PIXELS_PNG_H

#include <cstddef>
#include <cstdint>

#include "pixels/image.h"

namespace resnet_deploy {

bool is_png(const uint8_t* bytes, size_t num_bytes);

// `orientation` is what its eXIf chunk says; the pixels are as stored.
Pixels decode_png(const uint8_t* bytes, size_t num_bytes, int64_t max_pixels, int* orientation);

}  // namespace resnet_deploy

#endif
