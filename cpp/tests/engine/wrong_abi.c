/* A module of another time: it serves no core of this ABI. */
#include "backend.h"

__attribute__((visibility("default"))) const rd_backend* rd_backend_entry(uint32_t core_abi) {
  (void)core_abi;
  return NULL;
}
