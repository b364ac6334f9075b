// The golden image through the decoder, the pixel contract and the network, against what the bundle expects.
#ifndef RESNET_DEPLOY_ENGINE_SELF_TEST_H
#define RESNET_DEPLOY_ENGINE_SELF_TEST_H

#include "bundle/bundle.h"
#include "engine/backend_model.h"
#include "pixels/image.h"

namespace resnet_deploy {

// Decoded, its resized and cropped pixels compared with the bundle's hash. Throws Error(RD_SELF_TEST_FAILED).
Pixels golden_image(const Bundle& bundle);

// The largest difference of an element of the output. Throws Error(RD_SELF_TEST_FAILED) where it is more than the
// bundle allows, or not a number.
double run_self_test(const BundleModel& model, const rd_preprocess_spec& spec, const BackendModel& opened,
                     const Pixels& golden);

}  // namespace resnet_deploy

#endif
