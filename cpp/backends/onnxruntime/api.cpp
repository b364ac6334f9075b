#include "api.h"

#include <algorithm>
#include <vector>

#include "failure.h"
#include "shared_library.h"
#include "tensors.h"

namespace resnet_deploy::backend {
namespace {

// The first release that the tests ran with. The table of functions is only ever appended to: a library newer than our
// header serves us the header's version; an older one, its own down to here.
constexpr int kOldestApi = 17;
static_assert(ORT_API_VERSION >= kOldestApi, "onnxruntime_c_api.h is older than 1.17");

// Every release 1.N has API version N. Asked for one that it has not, the library prints on the error stream; so we
// count.
int api_of_release(const std::string& release) {
  const std::vector<int> numbers = numbers_of_version(release);
  return numbers.size() >= 2 && numbers[0] == 1 ? numbers[1] : 0;
}

}  // namespace

OrtLibrary::OrtLibrary() {
  const SharedLibrary library(
      {"ONNX Runtime", "RESNET_DEPLOY_ONNXRUNTIME", {"libonnxruntime.so.1", "libonnxruntime.so"}});
  const OrtApiBase* base = library.function<const OrtApiBase*(ORT_API_CALL*)()>("OrtGetApiBase")();
  version_ = base->GetVersionString();
  const int wanted = std::min(ORT_API_VERSION, api_of_release(version_));
  if (wanted >= kOldestApi) api_ = base->GetApi(static_cast<std::uint32_t>(wanted));
  if (api_ == nullptr) {
    throw Failure(RD_VERSION_MISMATCH,
                  library.file() + " is ONNX Runtime " + version_ + ", expected 1." + std::to_string(kOldestApi) +
                      " or a later 1.x; install one, or set RESNET_DEPLOY_ONNXRUNTIME to its library");
  }
  // what it has to say comes as a status as well
  check(api_->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "resnet_deploy", &environment_), RD_NO_BACKEND, "ONNX Runtime");
  // Telemetry is for the application to switch on, not for a library inside it.
  check(api_->DisableTelemetryEvents(environment_), RD_NO_BACKEND, "ONNX Runtime");
}

const OrtLibrary& OrtLibrary::get() {
  // never freed: other modules of the process may share the environment, and its threads outlive static objects
  static const OrtLibrary* const library = new OrtLibrary;
  return *library;
}

void OrtLibrary::check(OrtStatus* result, rd_status status, const std::string& what) const {
  if (result == nullptr) return;
  const std::string words = api_->GetErrorMessage(result);
  api_->ReleaseStatus(result);
  throw Failure(status, what + ": " + words.substr(0, words.find('\n')));
}

}  // namespace resnet_deploy::backend
