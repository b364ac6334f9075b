// The caller's function for one finished request.
#ifndef RESNET_DEPLOY_ENGINE_CALLBACK_H
#define RESNET_DEPLOY_ENGINE_CALLBACK_H

#include <cstddef>

#include "error.h"
#include "log.h"

namespace resnet_deploy {

struct Callback {
  rd_done_fn function = nullptr;
  void* user = nullptr;

  void succeed(const rd_class* classes, std::size_t num_classes, const Log& log) const noexcept;
  void fail(rd_status status, const char* message, const Log& log) const noexcept;
};

// Runs `body`; what it throws becomes the callback's status and message.
template <class Body>
void fail_on_exception(const Callback& callback, const Log& log, Body&& body) noexcept {
  try {
    body();
  } catch (const Error& error) {
    callback.fail(error.status(), error.what(), log);
  } catch (const std::bad_alloc&) {
    callback.fail(RD_OUT_OF_MEMORY, "out of memory; use smaller batches or a smaller capacity", log);
  } catch (const std::exception& error) {
    callback.fail(RD_INTERNAL, error.what(), log);
  }
}

}  // namespace resnet_deploy

#endif
