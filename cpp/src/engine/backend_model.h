// RAII over a module's model and session; a failing status becomes an Error.
#ifndef RESNET_DEPLOY_ENGINE_BACKEND_MODEL_H
#define RESNET_DEPLOY_ENGINE_BACKEND_MODEL_H

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "backend.h"
#include "bundle/manifest.h"
#include "engine/open_options.h"

namespace resnet_deploy {

using Dims = std::array<std::int64_t, 4>;

class BackendModel {
 public:
  // `bytes` must outlive the model.
  BackendModel(const rd_backend& backend, const BundleModel& model, std::string_view bytes, const OpenOptions& options);
  BackendModel(const BackendModel&) = delete;
  BackendModel& operator=(const BackendModel&) = delete;
  ~BackendModel();

  const rd_backend& backend() const noexcept { return backend_; }
  void* handle() const noexcept { return handle_; }
  const std::string& runtime() const noexcept { return runtime_; }
  const std::string& device() const noexcept { return device_; }
  std::int32_t max_batch() const noexcept { return max_batch_; }  // 0: no limit

 private:
  const rd_backend& backend_;
  void* handle_ = nullptr;
  std::string runtime_;
  std::string device_;
  std::int32_t max_batch_ = 0;
};

// Used from one thread at a time; `model` must outlive it.
class BackendSession {
 public:
  BackendSession(const BackendModel& model, std::int32_t max_batch);
  BackendSession(const BackendSession&) = delete;
  BackendSession& operator=(const BackendSession&) = delete;
  ~BackendSession();

  void run(const void* input, const Dims& dims, float* output);
  void enqueue(const void* input, const Dims& dims, float* output, void* stream);

 private:
  const rd_backend& backend_;
  void* handle_ = nullptr;
};

}  // namespace resnet_deploy

#endif
