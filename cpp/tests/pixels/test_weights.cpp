#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>

#include "pixels/weights.h"

using resnet_deploy::axis_weights;
using resnet_deploy::AxisWeights;

TEST_CASE("the worked example of the specification: 5 pixels to 3") {
  const AxisWeights axis = axis_weights(5, 3, 0, 3);
  // t of output 0: |(2j + 1) 3 - 5| = 2, 4, 10 -> 8, 6, 0 of 14
  CHECK(axis.of(0)[0] == 2396745);
  CHECK(axis.of(0)[1] == 1797559);
  CHECK(axis.of(0)[2] == 0);
  // output 1: the centre of pixel 2 -> 4, 10, 4 of 18
  const int32_t skip = 1 - axis.first[1];
  CHECK(axis.of(1)[skip] == 932068);
  CHECK(axis.of(1)[skip + 1] == 2330169);
  CHECK(axis.of(1)[skip + 2] == 932068);
}

TEST_CASE("every weight is the triangle at its distance, and they sum up to one") {
  for (const auto& [length, resized] : {std::pair{500, 341}, {7, 90}, {4000, 341}, {33, 1}, {1, 60}, {65535, 224}}) {
    CAPTURE(length);
    const AxisWeights axis = axis_weights(length, resized, 0, resized);
    for (int32_t i = 0; i < resized; ++i) {
      const double scale = std::max(1.0, static_cast<double>(length) / resized);
      const double centre = (i + 0.5) * length / resized;
      double sum = 0;
      for (int32_t j = 0; j < length; ++j) sum += std::max(0.0, 1 - std::abs(j + 0.5 - centre) / scale);
      int64_t total = 0;
      for (int32_t tap = 0; tap < axis.num_taps; ++tap) {
        const int32_t j = axis.first[static_cast<size_t>(i)] + tap;
        const double expected = j < length ? std::max(0.0, 1 - std::abs(j + 0.5 - centre) / scale) / sum : 0.0;
        total += axis.of(i)[tap];
        if (std::abs(axis.of(i)[tap] - expected * (1 << resnet_deploy::kWeightBits)) > 0.501) {
          FAIL("output " << i << ", input " << j << ": " << axis.of(i)[tap] << ", expected " << expected);
        }
      }
      if (std::llabs(total - (1 << resnet_deploy::kWeightBits)) > axis.num_taps) FAIL("output " << i << ": " << total);
    }
  }
}

TEST_CASE("a window of outputs has the weights of the whole, and stays inside where it can") {
  const AxisWeights whole = axis_weights(500, 341, 0, 341), part = axis_weights(500, 341, 58, 224);
  REQUIRE(whole.num_taps == part.num_taps);
  for (int32_t i = 0; i < 224; ++i) {
    CHECK(part.first[static_cast<size_t>(i)] == whole.first[static_cast<size_t>(i + 58)]);
    for (int32_t tap = 0; tap < part.num_taps; ++tap) CHECK(part.of(i)[tap] == whole.of(i + 58)[tap]);
  }
  for (const int32_t first : whole.first) CHECK((first >= 0 && first + whole.num_taps <= 500));
}

TEST_CASE("ties are rounded up") {
  CHECK(axis_weights(4096, 1, 0, 1).of(0)[2] == 684);  // t = 4101, s = 25165824: 683.5
}
