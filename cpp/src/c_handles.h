// What the handles of the C ABI hold, and the check of its pointers.
#ifndef RESNET_DEPLOY_C_HANDLES_H
#define RESNET_DEPLOY_C_HANDLES_H

#include <memory>
#include <string>
#include <utility>

#include "engine/batcher.h"
#include "engine/engine.h"
#include "engine/session.h"
#include "error.h"

// Sessions and batchers share the engine: it goes with the last of them, whatever the order of closing.
struct rd_engine {
  std::shared_ptr<const resnet_deploy::Engine> engine;
};

struct rd_session {
  rd_session(std::shared_ptr<const resnet_deploy::Engine> engine, int32_t max_batch)
      : session(std::move(engine), max_batch) {}
  resnet_deploy::Session session;
};

struct rd_batcher {
  rd_batcher(std::shared_ptr<const resnet_deploy::Engine> engine, const rd_batcher_options& options)
      : batcher(std::move(engine), options) {}
  resnet_deploy::Batcher batcher;
};

namespace resnet_deploy {

inline void require(const void* pointer, const char* name) {
  if (pointer == nullptr) throw Error(RD_INVALID_ARGUMENT, std::string(name) + " is NULL, expected a pointer");
}

}  // namespace resnet_deploy

#endif
