#include "engine/backend_model.h"

#include <algorithm>
#include <cstring>

#include "error.h"
#include "printable.h"

namespace resnet_deploy {

namespace {

template <std::size_t kSize>
std::string bounded_text(const char (&text)[kSize]) {
  return printable({text, static_cast<std::size_t>(std::find(text, text + kSize, '\0') - text)});
}

// One call into a module: gives it a place for its message, and throws what it says.
template <class Call>
void call_backend(const rd_backend& backend, const char* what, Call&& call) {
  rd_backend_error error;
  error.text[0] = '\0';
  const rd_status status = call(&error);
  if (status == RD_OK) return;
  const auto text = bounded_text(error.text);
  throw Error(status, text.empty() ? std::string(backend.name) + " failed to " + what + " and gave no reason" : text);
}

// The smaller of two limits of which 0 means none.
std::int32_t smaller_limit(std::int32_t a, std::int32_t b) {
  if (a <= 0 || b <= 0) return std::max({a, b, 0});
  return std::min(a, b);
}

}  // namespace

BackendModel::BackendModel(const rd_backend& backend, const BundleModel& model, std::string_view bytes,
                           const OpenOptions& options)
    : backend_(backend) {
  rd_model_source source{};
  source.struct_size = sizeof(source);
  source.bytes = bytes.data();
  source.num_bytes = bytes.size();
  source.file = model.path.c_str();
  source.format = model.format.c_str();
  source.product = model.product.c_str();
  source.version = model.version.c_str();
  source.compute_capabilities = model.compute_capabilities.data();
  source.num_compute_capabilities = model.compute_capabilities.size();
  source.hardware_compatible = model.hardware_compatible ? 1 : 0;
  source.input_name = model.input_name.c_str();
  source.output_name = model.output_name.c_str();
  source.input_element = model.takes_pixels ? RD_UINT8 : RD_FLOAT32;
  source.num_outputs = model.output_size;
  source.device = options.device;
  source.num_threads = options.num_threads;
  source.log = options.log.function();
  source.log_user = options.log.user();
  rd_model_info info{};
  info.struct_size = sizeof(info);
  call_backend(backend_, "open the model",
               [&](rd_backend_error* error) { return backend_.open(&source, &handle_, &info, error); });
  runtime_ = bounded_text(info.runtime);
  device_ = bounded_text(info.device);
  max_batch_ = smaller_limit(model.max_batch, info.max_batch);
}

BackendModel::~BackendModel() {
  if (handle_ != nullptr) backend_.close(handle_);
}

BackendSession::BackendSession(const BackendModel& model, std::int32_t max_batch) : backend_(model.backend()) {
  call_backend(backend_, "create a session", [&](rd_backend_error* error) {
    return backend_.create_session(model.handle(), max_batch, &handle_, error);
  });
}

BackendSession::~BackendSession() {
  if (handle_ != nullptr) backend_.destroy_session(handle_);
}

void BackendSession::run(const void* input, const Dims& dims, float* output) {
  call_backend(backend_, "run",
               [&](rd_backend_error* error) { return backend_.run(handle_, input, dims.data(), output, error); });
}

void BackendSession::enqueue(const void* input, const Dims& dims, float* output, void* stream) {
  if (backend_.enqueue == nullptr) {
    throw Error(RD_UNSUPPORTED, std::string("backend ") + backend_.name +
                                    " has no device memory, rd_enqueue needs a TensorRT backend; use rd_run");
  }
  call_backend(backend_, "enqueue", [&](rd_backend_error* error) {
    return backend_.enqueue(handle_, input, dims.data(), output, stream, error);
  });
}

}  // namespace resnet_deploy
