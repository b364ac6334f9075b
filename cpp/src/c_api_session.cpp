// rd_session_*, rd_classify, rd_run: one caller's way to run an engine.
#include "c_handles.h"
#include "guard.h"
#include "resnet_deploy/c_api.h"

using namespace resnet_deploy;

namespace {

void require_images(const void* images, size_t num_images) {
  require(images, "images or input");
  // Far above any memory, far below where sizes overflow.
  if (num_images == 0 || num_images > (size_t{1} << 24)) {
    throw Error(RD_INVALID_ARGUMENT, "num_images is " + std::to_string(num_images) + ", expected 1 to 16777216");
  }
}

// A function of the caller's may not be called through NULL.
void require_callback(rd_done_fn done) {
  if (done == nullptr) throw Error(RD_INVALID_ARGUMENT, "done is NULL, expected a function");
}

}  // namespace

extern "C" {

rd_status rd_session_create(rd_engine* engine, int32_t max_batch, rd_session** out) {
  return guarded([&] {
    require(out, "out");
    *out = nullptr;
    require(engine, "engine");
    *out = new rd_session(engine->engine, max_batch);
  });
}

void rd_session_destroy(rd_session* session) {
  if (session != nullptr && session->session.is_own_thread()) {
    // The thread would wait for itself. The session stays: a leak that is told is better than a process that hangs.
    session->session.engine().log().write(RD_LOG_ERROR, "rd_session_destroy from the session's own callback: not done");
    return;
  }
  delete session;
}

rd_status rd_classify(rd_session* session, const rd_image* images, size_t num_images, int32_t k, rd_class* out) {
  return guarded([&] {
    require(session, "session");
    require_images(images, num_images);
    require(out, "out");
    session->session.classify(images, num_images, k, out);
  });
}

rd_status rd_run(rd_session* session, const float* input, size_t num_images, float* output) {
  return guarded([&] {
    require(session, "session");
    require_images(input, num_images);
    require(output, "output");
    session->session.run(input, num_images, output);
  });
}

rd_status rd_run_images(rd_session* session, const rd_image* images, size_t num_images, float* output) {
  return guarded([&] {
    require(session, "session");
    require_images(images, num_images);
    require(output, "output");
    session->session.run_images(images, num_images, output);
  });
}

rd_status rd_session_submit(rd_session* session, const rd_image* images, size_t num_images, int32_t k, rd_done_fn done,
                            void* user) {
  return guarded([&] {
    require(session, "session");
    require_images(images, num_images);
    require_callback(done);
    session->session.submit(images, num_images, k, {done, user});
  });
}

rd_status rd_enqueue(rd_session* session, const void* input, size_t num_images, void* output, void* stream) {
  return guarded([&] {
    require(session, "session");
    require_images(input, num_images);
    require(output, "output");
    session->session.enqueue(input, num_images, output, stream);
  });
}

}  // extern "C"
