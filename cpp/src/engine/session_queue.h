// A thread that runs tasks in the order they came; started by the first.
#ifndef RESNET_DEPLOY_ENGINE_SESSION_QUEUE_H
#define RESNET_DEPLOY_ENGINE_SESSION_QUEUE_H

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace resnet_deploy {

class SessionQueue {
 public:
  SessionQueue() = default;
  SessionQueue(const SessionQueue&) = delete;
  SessionQueue& operator=(const SessionQueue&) = delete;
  ~SessionQueue();  // runs what waits

  bool is_full() const;
  void push(std::function<void()> task);  // a task does not throw
  void wait_until_idle() const;
  bool is_own_thread() const;

 private:
  void work();

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool is_running_ = false;  // a task
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace resnet_deploy

#endif
