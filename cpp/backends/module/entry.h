// The table of functions that a module gives to the core, from two classes of its own.
#ifndef RESNET_DEPLOY_BACKENDS_ENTRY_H
#define RESNET_DEPLOY_BACKENDS_ENTRY_H

#include <memory>
#include <string>

#include "failure.h"
#include "tensors.h"

namespace resnet_deploy::backend {

// Model: constructed from a rd_model_source; runtime(), device(), max_batch().
// Session: constructed from a Model and a batch; run().
template <typename Model, typename Session>
struct Entry {
  static rd_status open(const rd_model_source* source, void** model, rd_model_info* info, rd_backend_error* error) {
    return guarded(error, RD_INTERNAL, [&] {
      check_source(source);
      auto opened = std::make_unique<Model>(*source);
      fill_info(info, opened->runtime(), opened->device(), opened->max_batch());
      *model = opened.release();
    });
  }

  static void close(void* model) { delete static_cast<Model*>(model); }

  static rd_status create_session(void* model, std::int32_t max_batch, void** session, rd_backend_error* error) {
    return guarded(error, RD_INTERNAL, [&] {
      auto& opened = *static_cast<Model*>(model);
      check_max_batch(opened.file(), max_batch, opened.max_batch());
      *session = std::make_unique<Session>(opened, max_batch).release();
    });
  }

  static void destroy_session(void* session) { delete static_cast<Session*>(session); }

  static rd_status run(void* session, const void* input, const std::int64_t dims[4], float* output,
                       rd_backend_error* error) {
    return guarded(error, RD_RUN_FAILED, [&] { static_cast<Session*>(session)->run(input, dims, output); });
  }

  // What rd_backend_entry gives; without `enqueue` the backend has no device memory.
  static constexpr rd_backend table(const char* name, decltype(rd_backend::takes) takes,
                                    decltype(rd_backend::enqueue) enqueue = nullptr) {
    return {sizeof(rd_backend), RD_BACKEND_ABI,  name, takes,  open, close,
            create_session,     destroy_session, run,  enqueue};
  }
};

}  // namespace resnet_deploy::backend
#endif
