#include "engine/self_test.h"

#include <cmath>
#include <cstdint>
#include <sstream>
#include <vector>

#include "bundle/digest.h"
#include "engine/image_batch.h"
#include "error.h"
#include "pixels/decode.h"
#include "pixels/preprocess.h"

namespace resnet_deploy {

namespace {

[[noreturn]] void refuse(const std::string& why) { throw Error(RD_SELF_TEST_FAILED, "self-test: " + why); }

Pixels decode_golden(const Bundle& bundle) {
  const auto& file = bundle.manifest().golden_image;
  const auto bytes = bundle.file(file);
  try {
    return decode(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  } catch (const Error& error) {
    refuse(file + ": " + error.what());
  }
}

}  // namespace

Pixels golden_image(const Bundle& bundle) {
  auto golden = decode_golden(bundle);
  const auto& spec = bundle.manifest().preprocess;
  std::vector<std::uint8_t> crop(3 * static_cast<std::size_t>(spec.height_px) *
                                 static_cast<std::size_t>(spec.width_px));
  crop_pixels(spec, golden.view(), crop.data());
  const auto sha256 = sha256_hex({reinterpret_cast<const char*>(crop.data()), crop.size()});
  const auto& expected = bundle.manifest().golden_pixels_sha256;
  if (sha256 != expected) {
    refuse("the golden image's pixels have SHA-256 " + sha256 + ", the bundle expects " + expected +
           "; it was made by another decoder or another pixel contract: make it again with this release");
  }
  return golden;
}

double run_self_test(const BundleModel& model, const rd_preprocess_spec& spec, const BackendModel& opened,
                     const Pixels& golden) {
  const InputLayout layout(spec, model.takes_pixels);
  const auto image = golden.view();
  const auto dims = layout.image_dims(image);
  TensorBuffer input;
  layout.prepare(image, input.reserve(layout.num_bytes(dims)));
  std::vector<float> output(static_cast<std::size_t>(model.output_size));
  BackendSession(opened, 1).run(input.data(), dims, output.data());
  double largest = 0;
  for (std::size_t i = 0; i < output.size(); ++i) {
    const double expected = model.self_test.expected[i];
    const double error = std::fabs(static_cast<double>(output[i]) - expected);
    if (!(error <= model.self_test.max_abs_error)) {
      std::ostringstream why;
      why << "output " << i << " is " << output[i] << ", the bundle expects " << expected << " ("
          << model.self_test.measured_on << ") within " << model.self_test.max_abs_error
          << "; this runtime or device computes another result: update the runtime or driver, or use another precision";
      refuse(why.str());
    }
    if (error > largest) largest = error;
  }
  return largest;
}

}  // namespace resnet_deploy
