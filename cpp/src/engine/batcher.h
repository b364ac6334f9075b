// Merges the requests of many callers into batches, with a bound on how long one waits for others.
#ifndef RESNET_DEPLOY_ENGINE_BATCHER_H
#define RESNET_DEPLOY_ENGINE_BATCHER_H

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/callback.h"
#include "engine/engine.h"

namespace resnet_deploy {

class Batcher {
 public:
  // Throws Error: an option out of range, or a session that can not be made.
  Batcher(std::shared_ptr<const Engine> engine, const rd_batcher_options& options);
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;
  ~Batcher();  // runs what waits

  // The image is prepared in this call. Throws Error; the callback is called only where it does not.
  void submit(const rd_image& image, std::int32_t k, const Callback& callback);
  rd_batcher_stats stats() const;
  bool is_own_thread() const;
  const Engine& engine() const noexcept { return *engine_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Request;
  struct Worker;
  using Requests = std::vector<std::unique_ptr<Request>>;

  std::unique_ptr<Request> reserve();
  void give_up(std::unique_ptr<Request> request);
  Requests take_batch();
  std::size_t num_alike() const;
  void work(Worker& worker);
  void count(std::size_t num_requests);
  void run(Worker& worker, const Requests& batch);
  void answer(const Request& request, const float* scores) const noexcept;
  void stop() noexcept;

  const std::shared_ptr<const Engine> engine_;
  const std::size_t max_batch_;
  const std::chrono::microseconds max_delay_;
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::unique_ptr<Request>> waiting_;
  Requests spare_;                // finished, kept for their memory
  std::size_t num_reserved_ = 0;  // being prepared
  bool is_stopping_ = false;
  rd_batcher_stats stats_{};
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace resnet_deploy

#endif
