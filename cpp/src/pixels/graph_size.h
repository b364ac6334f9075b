// Which sizes of images a network takes whose graph does the preprocessing itself.
#ifndef RESNET_DEPLOY_PIXELS_GRAPH_SIZE_H
#define RESNET_DEPLOY_PIXELS_GRAPH_SIZE_H

#include <cstdint>

#include "resnet_deploy/c_api.h"

namespace resnet_deploy {

// Whether the graph gives the contract's bytes for an image of that size: its integers are 32 bits wide, and beyond
// them a runtime gives wrong bytes without a word. The same rule as `is_exact_for` of the exporter.
bool is_exact_in_graph(std::int32_t height, std::int32_t width, const rd_preprocess_spec& spec) noexcept;

// Throws Error(RD_BAD_IMAGE) where it is not, or where the image is smaller than the crop and `spec` does not resize.
void check_size_for_graph(std::int32_t height, std::int32_t width, const rd_preprocess_spec& spec);

}  // namespace resnet_deploy

#endif
