#include "library.h"

#include <algorithm>
#include <cstring>

#include "failure.h"
#include "shared_library.h"

namespace resnet_deploy::backend {
namespace {

constexpr std::size_t kMaxSaid = 1000;  // characters of an error text that are the library's

thread_local Listening* listening = nullptr;

class Logger : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* text) noexcept override {
    if (listening == nullptr || text == nullptr) return;
    try {
      listening->hear(severity, text);
    } catch (...) {  // no memory for the words: the call itself says that it failed
    }
  }
};

rd_log_level level_of(nvinfer1::ILogger::Severity severity) {
  switch (severity) {
    case nvinfer1::ILogger::Severity::kINTERNAL_ERROR:
    case nvinfer1::ILogger::Severity::kERROR:
      return RD_LOG_ERROR;
    case nvinfer1::ILogger::Severity::kWARNING:
      return RD_LOG_WARNING;
    case nvinfer1::ILogger::Severity::kINFO:
      return RD_LOG_INFO;
    default:
      return RD_LOG_DEBUG;
  }
}

// Versions come out of the library's messages as raw bytes (TensorRT-RTX 1.7 does so).
std::string printable(const char* text) {
  std::string result(text);
  for (char& character : result) {
    const auto code = static_cast<unsigned char>(character);
    if (code < 0x20U || code == 0x7FU) character = ' ';
  }
  return result;
}

SharedLibrary load() {
#if RD_TENSORRT_RTX
  const std::string name = "libtensorrt_rtx.so";
#else
  const std::string name = "libnvinfer.so";
#endif
  const std::string major = std::to_string(NV_TENSORRT_MAJOR);
  return SharedLibrary({title_of(kProduct), variable_of(kProduct), {name + "." + major, name}});
}

}  // namespace

ProductLibrary::ProductLibrary() {
  const SharedLibrary library = load();
  using Number = std::int32_t (*)();
  file_ = library.file();
  version_ = {
      library.function<Number>("getInferLibMajorVersion")(), library.function<Number>("getInferLibMinorVersion")(),
      library.function<Number>("getInferLibPatchVersion")(), library.function<Number>("getInferLibBuildVersion")()};
  const Version header = {NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH, NV_TENSORRT_BUILD};
  check_header(kProduct, header, version_, file_);
  create_runtime_ = library.function<decltype(create_runtime_)>("createInferRuntime_INTERNAL");
}

const ProductLibrary& ProductLibrary::get() {
  static const ProductLibrary* const library = new ProductLibrary;  // its library stays, too
  return *library;
}

std::unique_ptr<nvinfer1::IRuntime> ProductLibrary::make_runtime() const {
  static Logger* const logger = new Logger;  // the library keeps the first logger that it is given
  std::unique_ptr<nvinfer1::IRuntime> runtime(
      static_cast<nvinfer1::IRuntime*>(create_runtime_(logger, NV_TENSORRT_VERSION)));
  if (runtime == nullptr) {
    throw Failure(RD_NO_BACKEND,
                  title() + " makes no runtime" + (listening == nullptr ? "" : ": " + listening->said()));
  }
  return runtime;
}

Listening::Listening(rd_log_fn log, void* user) : log_(log), user_(user), outer_(listening) { listening = this; }

Listening::~Listening() { listening = outer_; }

void Listening::hear(nvinfer1::ILogger::Severity severity, const char* text) {
  const rd_log_level level = level_of(severity);
  const std::string words = printable(text);
  log_(user_, level, words.c_str());
  if (level != RD_LOG_ERROR || errors_.size() >= kMaxSaid) return;
  errors_ += (errors_.empty() ? "" : "; ") + words.substr(0, kMaxSaid);
}

std::string Listening::said() const { return errors_.empty() ? "no reason given" : errors_; }

}  // namespace resnet_deploy::backend
