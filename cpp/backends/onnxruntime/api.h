// ONNX Runtime's C API out of a library that is loaded at run time.
#ifndef RESNET_DEPLOY_BACKENDS_ONNXRUNTIME_API_H
#define RESNET_DEPLOY_BACKENDS_ONNXRUNTIME_API_H

#include <onnxruntime_c_api.h>

#include <memory>
#include <string>

#include "backend.h"

namespace resnet_deploy::backend {

class OrtLibrary {
 public:
  // Loaded at the first call. Throws RD_NO_BACKEND or RD_VERSION_MISMATCH, and then tries again at the next.
  static const OrtLibrary& get();

  const OrtApi& api() const noexcept { return *api_; }
  OrtEnv* environment() const noexcept { return environment_; }  // one for the process, as ONNX Runtime wants it
  const std::string& version() const noexcept { return version_; }

  // Throws `status` with `what` and ONNX Runtime's words, where the call failed.
  void check(OrtStatus* result, rd_status status, const std::string& what) const;

 private:
  OrtLibrary();
  const OrtApi* api_ = nullptr;
  OrtEnv* environment_ = nullptr;
  std::string version_;
};

// An object of the C API with the function that frees it.
template <typename Object>
class OrtHolder {
 public:
  using Release = void(ORT_API_CALL*)(Object*);
  explicit OrtHolder(Release release) : release_(release) {}
  ~OrtHolder() { release_(object_); }  // every Release function takes null
  OrtHolder(const OrtHolder&) = delete;
  OrtHolder& operator=(const OrtHolder&) = delete;
  Object* get() const { return object_; }
  Object** out() { return &object_; }

 private:
  Release release_;
  Object* object_ = nullptr;
};

}  // namespace resnet_deploy::backend
#endif
