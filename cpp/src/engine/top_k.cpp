#include "engine/top_k.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "error.h"

namespace resnet_deploy {

void write_top_k(const float* scores, std::size_t num_scores, bool are_logits, const std::vector<std::string>& labels,
                 std::int32_t k, rd_class* out) {
  const float* end = scores + num_scores;
  const auto bad = std::find_if(scores, end, [](float score) { return std::isnan(score) || score == INFINITY; });
  if (bad != end) {
    throw Error(RD_RUN_FAILED, "output " + std::to_string(bad - scores) + " is " +
                                   (std::isnan(*bad) ? "NaN" : "infinite") +
                                   ", expected a finite number; the network overflows in this precision: use another");
  }
  const auto num_best = static_cast<std::size_t>(k);
  std::vector<std::int32_t> order(num_scores);
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [scores](std::int32_t a, std::int32_t b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  });
  const double largest = scores[order[0]];
  double total = 1;
  if (are_logits && std::isfinite(largest)) {
    total = std::accumulate(scores, end, 0.0,
                            [largest](double sum, float score) { return sum + std::exp(score - largest); });
  }
  for (std::size_t rank = 0; rank < num_best; ++rank) {
    const std::int32_t index = order[rank];
    const auto score = static_cast<double>(scores[index]);
    out[rank].index = index;
    out[rank].probability = static_cast<float>(are_logits ? std::exp(score - largest) / total : score);
    out[rank].label = labels.empty() ? "" : labels[static_cast<std::size_t>(index)].c_str();
  }
}

}  // namespace resnet_deploy
