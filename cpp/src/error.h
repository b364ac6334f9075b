// The one exception type of the library: a status of the C ABI with its message.
#ifndef RESNET_DEPLOY_ERROR_H
#define RESNET_DEPLOY_ERROR_H

#include <stdexcept>
#include <string>

#include "resnet_deploy/c_api.h"

namespace resnet_deploy {

// The message says what failed, what was got, what was expected and the remedy.
class Error : public std::runtime_error {
 public:
  Error(rd_status status, const std::string& message) : std::runtime_error(message), status_(status) {}

  rd_status status() const noexcept { return status_; }

 private:
  rd_status status_;
};

}  // namespace resnet_deploy

#endif
