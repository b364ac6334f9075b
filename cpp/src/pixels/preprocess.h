// `Preprocess` version 1: resize, crop and normalise.
#ifndef RESNET_DEPLOY_PIXELS_PREPROCESS_H
#define RESNET_DEPLOY_PIXELS_PREPROCESS_H

#include <cstdint>

#include "pixels/passes.h"
#include "resnet_deploy/c_api.h"

namespace resnet_deploy {

constexpr int32_t kPreprocessVersion = 1;
constexpr int32_t kMaxCropSide = 16384;  // also of resize_shorter_px

// Raises RD_INVALID_ARGUMENT where a field is out of range; struct_size is not looked at.
void check_spec(const rd_preprocess_spec& spec);

// Resized and cropped pixels: uint8 [height_px, width_px, 3] RGB. Raises RD_BAD_IMAGE for an image that `spec` can not
// take. `passes` is for tests; all give the same bytes.
void crop_pixels(const rd_preprocess_spec& spec, const rd_image& image, uint8_t* out,
                 const Passes& passes = best_passes());

// The network's input: float32 [3, height_px, width_px].
void preprocess(const rd_preprocess_spec& spec, const rd_image& image, float* out);

}  // namespace resnet_deploy

#endif
