// One caller's way to run an engine: its own runtime session, its own memory.
#ifndef RESNET_DEPLOY_ENGINE_SESSION_H
#define RESNET_DEPLOY_ENGINE_SESSION_H

#include <atomic>
#include <memory>
#include <vector>

#include "engine/callback.h"
#include "engine/engine.h"
#include "engine/session_queue.h"

namespace resnet_deploy {

// Every function but submit waits for what was submitted; a second thread that calls meanwhile gets Error(RD_BUSY).
class Session {
 public:
  Session(std::shared_ptr<const Engine> engine, std::int32_t max_batch);

  void classify(const rd_image* images, std::size_t num_images, std::int32_t k, rd_class* out);
  void run(const float* input, std::size_t num_images, float* output);
  void run_images(const rd_image* images, std::size_t num_images, float* output);
  void submit(const rd_image* images, std::size_t num_images, std::int32_t k, const Callback& callback);
  void enqueue(const void* input, std::size_t num_images, void* output, void* stream);

  bool is_own_thread() const { return queue_.is_own_thread(); }
  const Engine& engine() const noexcept { return *engine_; }

 private:
  class Turn;
  struct Request;

  void compute(const rd_image* images, std::size_t num_images, float* output);
  void run_batch(const std::byte* input, Dims dims, const std::vector<std::size_t>& indices, float* output);
  void write_classes(const float* scores, std::size_t num_images, std::int32_t k, rd_class* out) const;
  void answer(const Request& request) noexcept;
  void check_prepared_input() const;

  const std::shared_ptr<const Engine> engine_;
  const std::size_t max_batch_;
  BackendSession session_;
  TensorBuffer input_;
  std::vector<float> batch_output_;
  std::vector<float> scores_;
  std::atomic<bool> is_used_{false};
  SessionQueue queue_;  // last: its thread uses all of the above
};

}  // namespace resnet_deploy

#endif
