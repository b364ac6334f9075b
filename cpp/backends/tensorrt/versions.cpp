#include "versions.h"

#include <vector>

#include "failure.h"
#include "tensors.h"

namespace resnet_deploy::backend {
namespace {

// TensorRT-RTX 1.3 and 1.4 have other tables than 1.5: a call through them ends in a segmentation fault. From 1.5
// to 1.7 functions were only appended (1.5 and 1.6 headers compared class by class, both called on a 1.7 library). Of
// later releases nothing is known, so that they want a module compiled against their own headers.
constexpr int kFirstAppendingRtx = 5;
constexpr int kLastComparedRtx = 7;

bool may_call(Product product, const Version& header, const Version& library) {
  if (header.major != library.major || header.minor > library.minor) return false;
  if (product == Product::kTensorRt || header.minor == library.minor)
    return true;  // TensorRT promises its ABI in a major
  return header.minor >= kFirstAppendingRtx && library.minor <= kLastComparedRtx;
}

}  // namespace

std::string text_of(const Version& version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor) + "." + std::to_string(version.patch) +
         "." + std::to_string(version.build);
}

void check_header(Product product, const Version& header, const Version& library, const std::string& file) {
  if (may_call(product, header, library)) return;
  throw Failure(RD_VERSION_MISMATCH, file + " is " + title_of(product) + " " + text_of(library) +
                                         ", this module was compiled against the headers of " + text_of(header) +
                                         "; compile it against those of " + std::to_string(library.major) + "." +
                                         std::to_string(library.minor) + ", or set " + variable_of(product) +
                                         " to a library that fits");
}

void check_engine(Product product, const std::string& engine, const std::string& built, const Version& library,
                  const std::string& file) {
  const std::vector<int> numbers = numbers_of_version(built);
  if (numbers.size() != 4) {
    throw Failure(RD_BAD_MANIFEST, engine + ": its builder's version is \"" + built +
                                       "\", expected four numbers; make the bundle again");
  }
  const std::vector<int> here = {library.major, library.minor, library.patch, library.build};
  if (numbers == here) return;
  throw Failure(RD_VERSION_MISMATCH, engine + " was built by " + title_of(product) + " " + built + ", " + file +
                                         " is " + text_of(library) +
                                         ", and engines never cross releases; install that release, set " +
                                         variable_of(product) + " to its library, or build the engine again");
}

const char* title_of(Product product) { return product == Product::kTensorRt ? "TensorRT" : "TensorRT-RTX"; }

const char* variable_of(Product product) {
  return product == Product::kTensorRt ? "RESNET_DEPLOY_TENSORRT" : "RESNET_DEPLOY_TENSORRT_RTX";
}

}  // namespace resnet_deploy::backend
