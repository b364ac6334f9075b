// What a fake model shall do: the lines after "fake:" of its file.
#ifndef RESNET_DEPLOY_BACKENDS_FAKE_SCRIPT_H
#define RESNET_DEPLOY_BACKENDS_FAKE_SCRIPT_H

#include <cstdint>
#include <string_view>

#include "resnet_deploy/c_api.h"

namespace resnet_deploy::backend {

struct FakeScript {
  rd_status open = RD_OK;  // what open, create_session and run give
  rd_status session = RD_OK;
  rd_status run = RD_OK;
  std::int64_t run_from = 0;  // `run` is given from this run of the model on
  std::int64_t delay_us = 0;  // of each run
  std::int32_t max_batch = 0;
  bool nan = false;            // the first output of each image
  bool device_memory = false;  // enqueue works, on host memory
  bool silent = false;         // failures have no text
};

// Lines `key=value`. Throws Failure(RD_ENGINE_REFUSED): not a fake model, so no network is ever served by it.
FakeScript parse_fake_script(std::string_view file);

}  // namespace resnet_deploy::backend

#endif
