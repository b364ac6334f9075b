// What an engine says of its tensors, in words that the check against the manifest knows.
#ifndef RESNET_DEPLOY_BACKENDS_TENSORRT_ENGINE_TENSORS_H
#define RESNET_DEPLOY_BACKENDS_TENSORRT_ENGINE_TENSORS_H

#include <vector>

#include "backend.h"
#include "library.h"
#include "model.h"

namespace resnet_deploy::backend {

// Throws RD_ENGINE_REFUSED where tensors and manifest disagree, or a tensor is nothing that a session can bind.
void check_engine_tensors(const rd_model_source& source, const nvinfer1::ICudaEngine& engine);

// The ranges of the input in every optimization profile; one range of one size where the shape is fixed. Throws
// RD_ENGINE_REFUSED where the engine does not tell.
std::vector<Profile> read_profiles(const rd_model_source& source, const nvinfer1::ICudaEngine& engine);

}  // namespace resnet_deploy::backend
#endif
