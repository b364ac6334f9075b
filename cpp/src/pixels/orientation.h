// The EXIF orientation of an image, 1 to 8, and turning pixels by it.
#ifndef RESNET_DEPLOY_PIXELS_ORIENTATION_H
#define RESNET_DEPLOY_PIXELS_ORIENTATION_H

#include <cstddef>
#include <cstdint>

#include "pixels/image.h"

namespace resnet_deploy {

constexpr int kUpright = 1;

// Of a TIFF block, which is what EXIF is; upright where there is none or the block is damaged.
int tiff_orientation(const uint8_t* bytes, size_t num_bytes);

// The image as its photographer saw it.
Pixels turned(const Pixels& stored, int orientation);

}  // namespace resnet_deploy

#endif
