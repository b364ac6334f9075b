#include "engine/callback.h"

namespace resnet_deploy {

namespace {

template <class Call>
void contain(const Log& log, Call&& call) noexcept {
  try {
    call();
  } catch (...) {
    // Unwinding through a thread of ours would end the process.
    log.write(RD_LOG_ERROR, "a callback threw an exception, which none may; it was dropped");
  }
}

}  // namespace

void Callback::succeed(const rd_class* classes, std::size_t num_classes, const Log& log) const noexcept {
  contain(log, [&] { function(user, RD_OK, "", classes, num_classes); });
}

void Callback::fail(rd_status status, const char* message, const Log& log) const noexcept {
  contain(log, [&] { function(user, status, message, nullptr, 0); });
}

}  // namespace resnet_deploy
