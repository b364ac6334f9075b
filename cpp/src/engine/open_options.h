// rd_open_options, owned.
#ifndef RESNET_DEPLOY_ENGINE_OPEN_OPTIONS_H
#define RESNET_DEPLOY_ENGINE_OPEN_OPTIONS_H

#include <cstdint>
#include <string>
#include <vector>

#include "log.h"

namespace resnet_deploy {

struct OpenOptions {
  std::vector<std::string> backends;        // empty: those that fit the model
  std::vector<std::string> module_folders;  // in which order modules are looked for
  std::string public_key_pem;
  std::int32_t device = 0;
  std::int32_t num_threads = 0;
  bool skip_self_test = false;
  Log log;
};

}  // namespace resnet_deploy

#endif
