// The rows of the resized, cropped image, one after the other.
#ifndef RESNET_DEPLOY_PIXELS_CROP_H
#define RESNET_DEPLOY_PIXELS_CROP_H

#include <cstdint>
#include <functional>

#include "pixels/image.h"
#include "pixels/passes.h"

namespace resnet_deploy {

// Takes row `y` of the crop, `width_px` RGB pixels; called in order.
using RowSink = std::function<void(int32_t y, const uint8_t* rgb)>;

// Only the columns and rows that the crop needs are computed. Raises RD_BAD_IMAGE where the image is smaller than the
// crop and `spec` does not resize.
void for_each_crop_row(const rd_preprocess_spec& spec, const ImageView& image, const Passes& passes,
                       const RowSink& sink);

}  // namespace resnet_deploy

#endif
