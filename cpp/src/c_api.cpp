// The library itself: versions, the last message, names of statuses.
#include "resnet_deploy/c_api.h"

#include "guard.h"

extern "C" {

uint32_t rd_abi_version(void) { return RD_ABI_VERSION; }

const char* rd_version(void) { return RD_VERSION_TEXT; }

const char* rd_last_error(void) { return resnet_deploy::last_error_text().c_str(); }

const char* rd_status_name(rd_status status) {
  switch (status) {
    case RD_OK:
      return "RD_OK";
    case RD_INVALID_ARGUMENT:
      return "RD_INVALID_ARGUMENT";
    case RD_NOT_FOUND:
      return "RD_NOT_FOUND";
    case RD_BAD_MANIFEST:
      return "RD_BAD_MANIFEST";
    case RD_DAMAGED:
      return "RD_DAMAGED";
    case RD_BAD_SIGNATURE:
      return "RD_BAD_SIGNATURE";
    case RD_NO_BACKEND:
      return "RD_NO_BACKEND";
    case RD_VERSION_MISMATCH:
      return "RD_VERSION_MISMATCH";
    case RD_NO_DRIVER:
      return "RD_NO_DRIVER";
    case RD_WRONG_GPU:
      return "RD_WRONG_GPU";
    case RD_ENGINE_REFUSED:
      return "RD_ENGINE_REFUSED";
    case RD_SELF_TEST_FAILED:
      return "RD_SELF_TEST_FAILED";
    case RD_BAD_IMAGE:
      return "RD_BAD_IMAGE";
    case RD_RUN_FAILED:
      return "RD_RUN_FAILED";
    case RD_UNSUPPORTED:
      return "RD_UNSUPPORTED";
    case RD_OUT_OF_MEMORY:
      return "RD_OUT_OF_MEMORY";
    case RD_CANCELLED:
      return "RD_CANCELLED";
    case RD_BUSY:
      return "RD_BUSY";
    case RD_INTERNAL:
      return "RD_INTERNAL";
  }
  return "unknown";
}

}  // extern "C"
