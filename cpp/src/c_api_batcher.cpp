// rd_batcher_*: merges callers.
#include "c_handles.h"
#include "c_struct.h"
#include "guard.h"
#include "resnet_deploy/c_api.h"

using namespace resnet_deploy;

namespace {

rd_batcher_options default_batcher_options() {
  rd_batcher_options options{};
  options.struct_size = sizeof(options);
  options.max_batch = 8;
  options.max_delay_us = 2000;
  options.num_sessions = 1;
  options.capacity = 1024;
  return options;
}

}  // namespace

extern "C" {

void rd_batcher_options_init(rd_batcher_options* options) {
  if (options != nullptr) *options = default_batcher_options();
}

rd_status rd_batcher_create(rd_engine* engine, const rd_batcher_options* options, rd_batcher** out) {
  return guarded([&] {
    require(out, "out");
    *out = nullptr;
    require(engine, "engine");
    *out = new rd_batcher(engine->engine, read_c_struct(options, default_batcher_options(), "rd_batcher_options"));
  });
}

rd_status rd_batcher_submit(rd_batcher* batcher, const rd_image* image, int32_t k, rd_done_fn done, void* user) {
  return guarded([&] {
    require(batcher, "batcher");
    require(image, "image");
    if (done == nullptr) throw Error(RD_INVALID_ARGUMENT, "done is NULL, expected a function");
    batcher->batcher.submit(*image, k, {done, user});
  });
}

rd_status rd_batcher_get_stats(const rd_batcher* batcher, rd_batcher_stats* stats) {
  return guarded([&] {
    require(batcher, "batcher");
    write_c_struct(batcher->batcher.stats(), stats, "rd_batcher_stats");
  });
}

void rd_batcher_destroy(rd_batcher* batcher) {
  if (batcher != nullptr && batcher->batcher.is_own_thread()) {
    // The thread would wait for itself. The batcher stays: a leak that is told is better than a process that hangs.
    batcher->batcher.engine().log().write(RD_LOG_ERROR, "rd_batcher_destroy from one of its callbacks: not done");
    return;
  }
  delete batcher;
}

}  // extern "C"
