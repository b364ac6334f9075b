#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "tiny_engine.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace resnet_deploy::test {

Engine open_tiny(const BundleWriter& writer, OpenOptions options) {
  const TemporaryFolder folder;
  if (options.backends.empty()) options.backends = "fake";
  return Engine::open(writer.write(folder.path()), options);
}

Classes expected_classes(const std::vector<float>& logits, std::size_t k) {
  static const char* const kLabels[] = {"ant", "bee", "cat", "dog", "eel"};
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  Classes classes;
  for (std::size_t rank = 0; rank < k; ++rank) {
    const auto index = order[rank];
    classes.push_back({static_cast<int>(index),
                       static_cast<float>(std::exp(static_cast<double>(logits[index])) / total), kLabels[index]});
  }
  return classes;
}

void check_equal(const Classes& found, const Classes& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i].index == expected[i].index);
    CHECK(found[i].label == expected[i].label);
    CHECK(found[i].probability == doctest::Approx(expected[i].probability).epsilon(1e-6));
  }
}

}  // namespace resnet_deploy::test
