#include "engine/session_queue.h"

#include <utility>

namespace resnet_deploy {

namespace {

// Each waiting request holds its prepared pixels; a caller that is this far ahead gains nothing by going further.
constexpr std::size_t kMaxWaiting = 256;

}  // namespace

SessionQueue::~SessionQueue() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool SessionQueue::is_full() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return tasks_.size() >= kMaxWaiting;
}

void SessionQueue::push(std::function<void()> task) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });  // first: where it fails, no task is left behind
  tasks_.push_back(std::move(task));
  changed_.notify_all();
}

void SessionQueue::wait_until_idle() const {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return tasks_.empty() && !is_running_; });
}

bool SessionQueue::is_own_thread() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return thread_.get_id() == std::this_thread::get_id();
}

void SessionQueue::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !tasks_.empty() || is_stopping_; });
    if (tasks_.empty()) return;
    auto task = std::move(tasks_.front());
    tasks_.pop_front();
    is_running_ = true;
    lock.unlock();
    task();
    task = nullptr;  // its memory goes before the queue says that it is idle
    lock.lock();
    is_running_ = false;
    changed_.notify_all();
  }
}

}  // namespace resnet_deploy
