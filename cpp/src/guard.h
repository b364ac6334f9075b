// The edge of the C ABI: no exception passes it; each becomes a status and the calling thread's last message.
#ifndef RESNET_DEPLOY_GUARD_H
#define RESNET_DEPLOY_GUARD_H

#include <exception>
#include <new>
#include <string>
#include <utility>

#include "error.h"
#include "printable.h"

namespace resnet_deploy {

// What rd_last_error() gives in this thread.
inline std::string& last_error_text() noexcept {
  thread_local std::string text;
  return text;
}

inline rd_status record_failure(rd_status status, const char* message) noexcept {
  try {
    last_error_text() = printable(message);
  } catch (...) {
    last_error_text().clear();  // no memory for the message: the status has to do
  }
  return status;
}

// Runs `body` (which throws Error to fail) and gives its status.
template <class Body>
rd_status guarded(Body&& body) noexcept {
  try {
    last_error_text().clear();
    std::forward<Body>(body)();
    return RD_OK;
  } catch (const Error& error) {
    return record_failure(error.status(), error.what());
  } catch (const std::bad_alloc&) {
    return record_failure(RD_OUT_OF_MEMORY, "out of memory; use smaller batches or fewer sessions");
  } catch (const std::exception& error) {
    return record_failure(RD_INTERNAL, error.what());
  } catch (...) {
    return record_failure(RD_INTERNAL, "an exception of unknown type");
  }
}

}  // namespace resnet_deploy

#endif
