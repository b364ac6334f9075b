#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "engine/top_k.h"
#include "refusal.h"

using namespace resnet_deploy;
using resnet_deploy::test::refusal;

namespace {

std::vector<rd_class> top(const std::vector<float>& scores, std::int32_t k, bool are_logits,
                          const std::vector<std::string>& labels = {}) {
  std::vector<rd_class> out(static_cast<std::size_t>(k));
  write_top_k(scores.data(), scores.size(), are_logits, labels, k, out.data());
  return out;
}

}  // namespace

TEST_CASE("the best come first, and among equals the lower index") {
  const auto best = top({1, 3, 3, 2, 3}, 4, true);
  CHECK(best[0].index == 1);
  CHECK(best[1].index == 2);
  CHECK(best[2].index == 4);
  CHECK(best[3].index == 3);
}

TEST_CASE("probabilities are the softmax, also of logits that overflow exp") {
  const auto best = top({1000, 999, -1000}, 3, true);
  CHECK(best[0].probability == doctest::Approx(1 / (1 + std::exp(-1.0))).epsilon(1e-7));
  CHECK(best[1].probability == doctest::Approx(1 / (1 + std::exp(1.0))).epsilon(1e-7));
  CHECK(best[2].probability == 0);
  CHECK(top({-INFINITY, 0}, 2, true)[0].probability == 1);
}

TEST_CASE("a softmax output is taken as it is") {
  const std::vector<std::string> labels{"a", "b"};  // they outlive the classes, as those of an engine do
  const auto best = top({0.25F, 0.75F}, 2, false, labels);
  CHECK(best[0].probability == 0.75F);
  CHECK(std::string(best[0].label) == "b");
}

TEST_CASE("no labels give empty texts") { CHECK(std::string(top({0, 1}, 1, true)[0].label).empty()); }

TEST_CASE("outputs that are no numbers are a failed run, not an order") {
  const auto reason = refusal(RD_RUN_FAILED, [] { top({0, NAN, 1}, 1, true); });
  CHECK(reason.find("output 1 is NaN") != std::string::npos);
  CHECK(refusal(RD_RUN_FAILED, [] { top({INFINITY, 0}, 1, true); }).find("output 0 is infinite") != std::string::npos);
}
