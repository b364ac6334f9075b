// From outputs to classes.
#ifndef RESNET_DEPLOY_ENGINE_TOP_K_H
#define RESNET_DEPLOY_ENGINE_TOP_K_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "resnet_deploy/c_api.h"

namespace resnet_deploy {

// The k best of `scores`, best first, among equals the lower index. `are_logits`: probabilities are their softmax, in
// float64; else the scores are the probabilities. `labels` may be empty. Throws Error(RD_RUN_FAILED): NaN or +infinity.
void write_top_k(const float* scores, std::size_t num_scores, bool are_logits, const std::vector<std::string>& labels,
                 std::int32_t k, rd_class* out);

}  // namespace resnet_deploy

#endif
