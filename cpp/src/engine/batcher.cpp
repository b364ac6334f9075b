#include "engine/batcher.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "engine/top_k.h"
#include "error.h"

namespace resnet_deploy {

struct Batcher::Request {
  Dims dims{};
  TensorBuffer input;
  std::int32_t k = 0;
  Callback callback;
  Clock::time_point since;  // it waits
};

struct Batcher::Worker {
  Worker(const Engine& engine, std::int32_t max_batch)
      : session(engine.model(), max_batch), scores(static_cast<std::size_t>(max_batch) * engine.output_size()) {}

  BackendSession session;
  TensorBuffer input;
  std::vector<float> scores;
  std::thread thread;
};

namespace {

void check_range(const char* name, std::int32_t value, std::int32_t low, std::int32_t high) {
  if (value >= low && value <= high) return;
  throw Error(RD_INVALID_ARGUMENT, std::string("rd_batcher_options.") + name + " is " + std::to_string(value) +
                                       ", expected " + std::to_string(low) + " to " + std::to_string(high));
}

const rd_batcher_options& checked(const Engine& engine, const rd_batcher_options& options) {
  engine.check_max_batch(options.max_batch);
  check_range("max_delay_us", options.max_delay_us, 0, 60000000);
  check_range("num_sessions", options.num_sessions, 1, 1024);
  check_range("capacity", options.capacity, 1, 1 << 20);
  return options;
}

}  // namespace

Batcher::Batcher(std::shared_ptr<const Engine> engine, const rd_batcher_options& options)
    : engine_(std::move(engine)),
      max_batch_(static_cast<std::size_t>(checked(*engine_, options).max_batch)),
      max_delay_(options.max_delay_us),
      capacity_(static_cast<std::size_t>(options.capacity)) {
  engine_->check_classes(1);
  stats_.struct_size = sizeof(stats_);
  for (std::int32_t i = 0; i < options.num_sessions; ++i) {
    workers_.push_back(std::make_unique<Worker>(*engine_, options.max_batch));
  }
  try {
    for (auto& worker : workers_) worker->thread = std::thread([this, &worker = *worker] { work(worker); });
  } catch (...) {
    stop();  // those that have started
    throw;
  }
}

Batcher::~Batcher() { stop(); }

void Batcher::stop() noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  arrived_.notify_all();
  for (auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
}

bool Batcher::is_own_thread() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->thread.get_id() == std::this_thread::get_id(); });
}

rd_batcher_stats Batcher::stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stats_;
}

// A place in the queue is taken before the pixels are prepared: a refusal costs nothing.
std::unique_ptr<Batcher::Request> Batcher::reserve() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_stopping_) throw Error(RD_CANCELLED, "the batcher is being destroyed; submit before that");
  if (waiting_.size() + num_reserved_ >= capacity_) {
    ++stats_.num_refused;
    throw Error(RD_BUSY, std::to_string(capacity_) +
                             " requests wait, which is the batcher's capacity; submit more slowly, or " +
                             "raise capacity or num_sessions");
  }
  std::unique_ptr<Request> request;
  if (spare_.empty()) {
    request = std::make_unique<Request>();
  } else {
    request = std::move(spare_.back());
    spare_.pop_back();
  }
  ++num_reserved_;
  return request;
}

void Batcher::give_up(std::unique_ptr<Request> request) {
  const std::lock_guard<std::mutex> lock(mutex_);
  --num_reserved_;
  spare_.push_back(std::move(request));
}

void Batcher::submit(const rd_image& image, std::int32_t k, const Callback& callback) {
  engine_->check_classes(k);
  const auto& layout = engine_->layout();
  const auto dims = layout.image_dims(image);
  auto request = reserve();
  try {
    layout.prepare(image, request->input.reserve(layout.num_bytes(dims)));
  } catch (...) {
    give_up(std::move(request));
    throw;
  }
  request->dims = dims;
  request->k = k;
  request->callback = callback;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    --num_reserved_;
    request->since = Clock::now();
    waiting_.push_back(std::move(request));
  }
  arrived_.notify_one();
}

// How many of those that wait can run with the first; counted up to max_batch.
std::size_t Batcher::num_alike() const {
  std::size_t count = 0;
  for (const auto& request : waiting_) {
    if (request->dims == waiting_.front()->dims && ++count == max_batch_) break;
  }
  return count;
}

// Waits for a batch: a full one, or what there is when the first request's time is up. Empty: the batcher ends.
Batcher::Requests Batcher::take_batch() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    arrived_.wait(lock, [this] { return !waiting_.empty() || is_stopping_; });
    if (waiting_.empty()) return {};
    // Another worker may take the first meanwhile; then the next one's time counts.
    const auto deadline = waiting_.front()->since + max_delay_;
    if (is_stopping_ || num_alike() == max_batch_ || Clock::now() >= deadline) break;
    arrived_.wait_until(lock, deadline);
  }
  Requests batch;
  const auto dims = waiting_.front()->dims;
  for (auto& request : waiting_) {
    if (batch.size() == max_batch_) break;
    if (request->dims == dims) batch.push_back(std::move(request));
  }
  waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), nullptr), waiting_.end());
  if (!waiting_.empty()) arrived_.notify_one();
  return batch;
}

void Batcher::work(Worker& worker) {
  for (;;) {
    auto batch = take_batch();
    if (batch.empty()) return;
    run(worker, batch);
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto num_kept = std::min(batch.size(), 4 * max_batch_ - std::min(4 * max_batch_, spare_.size()));
    std::move(batch.begin(), batch.begin() + static_cast<std::ptrdiff_t>(num_kept), std::back_inserter(spare_));
  }
}

// Before the callbacks: who has been answered finds itself counted.
void Batcher::count(std::size_t num_requests) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++stats_.num_batches;
  stats_.num_requests += num_requests;
}

void Batcher::run(Worker& worker, const Requests& batch) {
  try {
    auto dims = batch.front()->dims;
    const auto image_bytes = engine_->layout().num_bytes(dims);
    const std::byte* input = batch.front()->input.data();
    if (batch.size() > 1) {
      std::byte* place = worker.input.reserve(image_bytes * batch.size());
      input = place;
      for (const auto& request : batch) {
        std::memcpy(place, request->input.data(), image_bytes);
        place += image_bytes;
      }
    }
    dims[0] = static_cast<std::int64_t>(batch.size());
    worker.session.run(input, dims, worker.scores.data());
    count(batch.size());
  } catch (const Error& error) {
    count(batch.size());
    for (const auto& request : batch) request->callback.fail(error.status(), error.what(), engine_->log());
    return;
  } catch (const std::bad_alloc&) {
    count(batch.size());
    for (const auto& request : batch)
      request->callback.fail(RD_OUT_OF_MEMORY, "out of memory; lower max_batch", engine_->log());
    return;
  }
  for (std::size_t i = 0; i < batch.size(); ++i) answer(*batch[i], worker.scores.data() + i * engine_->output_size());
}

void Batcher::answer(const Request& request, const float* scores) const noexcept {
  fail_on_exception(request.callback, engine_->log(), [&] {
    std::vector<rd_class> classes(static_cast<std::size_t>(request.k));
    write_top_k(scores, engine_->output_size(), engine_->gives_logits(), engine_->labels(), request.k, classes.data());
    request.callback.succeed(classes.data(), classes.size(), engine_->log());
  });
}

}  // namespace resnet_deploy
