// NVIDIA's library, TensorRT or TensorRT-RTX: this folder is compiled once for each, against its own headers.
//
// The two have the same names and other tables of virtual functions, so that one module can not serve both.
#ifndef RESNET_DEPLOY_BACKENDS_TENSORRT_LIBRARY_H
#define RESNET_DEPLOY_BACKENDS_TENSORRT_LIBRARY_H

#include <NvInferRuntime.h>

#include <memory>
#include <string>

#include "backend.h"
#include "versions.h"

namespace resnet_deploy::backend {

#if RD_TENSORRT_RTX
constexpr Product kProduct = Product::kTensorRtRtx;
constexpr const char* kProductName = "tensorrt-rtx";
constexpr const char* kBackendName = "tensorrt_rtx";
#else
constexpr Product kProduct = Product::kTensorRt;
constexpr const char* kProductName = "tensorrt";
constexpr const char* kBackendName = "tensorrt";
#endif

class ProductLibrary {
 public:
  // Loaded at the first call, and tried again at the next where that failed. Throws RD_NO_BACKEND, or
  // RD_VERSION_MISMATCH where it does not go with the headers of this module: nothing of it was called then.
  static const ProductLibrary& get();

  const Version& version() const noexcept { return version_; }
  const std::string& file() const noexcept { return file_; }
  std::string title() const { return std::string(title_of(kProduct)) + " " + text_of(version_); }
  std::unique_ptr<nvinfer1::IRuntime> make_runtime() const;

 private:
  ProductLibrary();
  std::string file_;
  Version version_{};
  void* (*create_runtime_)(void* logger, std::int32_t version) noexcept = nullptr;
};

// Hears what the library says on this thread while it lives: the words go to the model's log, and errors are kept for
// the message of the call that then fails. There is one logger a process, which the library demands; what its own
// threads say is dropped, for no call is there to hear it.
class Listening {
 public:
  Listening(rd_log_fn log, void* user);
  ~Listening();
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

  void hear(nvinfer1::ILogger::Severity severity, const char* text);
  std::string said() const;  // the errors, or "no reason given"

 private:
  rd_log_fn log_;
  void* user_;
  std::string errors_;
  Listening* outer_;
};

}  // namespace resnet_deploy::backend
#endif
