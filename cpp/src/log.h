// The caller's log function, or silence.
#ifndef RESNET_DEPLOY_LOG_H
#define RESNET_DEPLOY_LOG_H

#include <string>

#include "resnet_deploy/c_api.h"

namespace resnet_deploy {

class Log {
 public:
  Log() = default;
  Log(rd_log_fn given, void* user) : function_(given), user_(user) {}

  void write(rd_log_level level, const std::string& text) const noexcept {
    if (function_ == nullptr) return;
    try {
      function_(user_, level, text.c_str());
    } catch (...) {
      // A log function may not throw; one that does must not end the process.
    }
  }

  // For modules, which are never given NULL.
  rd_log_fn function() const noexcept { return function_ != nullptr ? function_ : &silent; }
  void* user() const noexcept { return user_; }

 private:
  static void silent(void*, rd_log_level, const char*) {}

  rd_log_fn function_ = nullptr;
  void* user_ = nullptr;
};

}  // namespace resnet_deploy

#endif
