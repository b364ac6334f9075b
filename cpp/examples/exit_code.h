/* What the examples return, as `resnet-deploy` itself does: 0 done, 2 wrong usage or input, 3 something is missing on
 * this machine, 4 any other error. */
#ifndef RESNET_DEPLOY_EXAMPLES_EXIT_CODE_H
#define RESNET_DEPLOY_EXAMPLES_EXIT_CODE_H

#include <resnet_deploy/c_api.h>

enum { kExitDone = 0, kExitBadInput = 2, kExitMissing = 3, kExitFailed = 4 };

static inline int exit_code_of(rd_status status) {
  switch (status) {
    case RD_OK:
      return kExitDone;
    case RD_INVALID_ARGUMENT:
    case RD_NOT_FOUND:
    case RD_BAD_MANIFEST:
    case RD_DAMAGED:
    case RD_BAD_SIGNATURE:
    case RD_BAD_IMAGE:
      return kExitBadInput;
    case RD_NO_BACKEND:
    case RD_VERSION_MISMATCH:
    case RD_NO_DRIVER:
    case RD_WRONG_GPU:
      return kExitMissing;
    default:
      return kExitFailed;
  }
}

#endif
