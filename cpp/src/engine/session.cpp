#include "engine/session.h"

#include <algorithm>
#include <utility>

#include "engine/top_k.h"
#include "error.h"

namespace resnet_deploy {

namespace {

std::int32_t checked_max_batch(const Engine& engine, std::int32_t max_batch) {
  engine.check_max_batch(max_batch);
  return max_batch;
}

}  // namespace

// The caller's turn; a second one at the same time is refused, as the runtime's session would be corrupted silently.
class Session::Turn {
 public:
  explicit Turn(Session& session) : session_(session) {
    if (session_.is_own_thread()) {
      throw Error(RD_INVALID_ARGUMENT, "a session is used from its own callback; hand the work to a thread of yours");
    }
    if (session_.is_used_.exchange(true, std::memory_order_acquire)) {
      throw Error(RD_BUSY,
                  "this session is in use by another thread, expected one at a time; make a session per thread");
    }
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { session_.is_used_.store(false, std::memory_order_release); }

 private:
  Session& session_;
};

// What was submitted, with its pixels prepared.
struct Session::Request {
  struct Batch {
    Dims dims;
    std::size_t offset;
    std::vector<std::size_t> indices;
  };
  std::vector<Batch> batches;
  TensorBuffer input;
  std::size_t num_images = 0;
  std::int32_t k = 0;
  Callback callback;
};

Session::Session(std::shared_ptr<const Engine> engine, std::int32_t max_batch)
    : engine_(std::move(engine)),
      max_batch_(static_cast<std::size_t>(checked_max_batch(*engine_, max_batch))),
      session_(engine_->model(), max_batch),
      batch_output_(max_batch_ * engine_->output_size()) {}

void Session::classify(const rd_image* images, std::size_t num_images, std::int32_t k, rd_class* out) {
  engine_->check_classes(k);
  const Turn turn(*this);
  queue_.wait_until_idle();
  scores_.resize(num_images * engine_->output_size());
  compute(images, num_images, scores_.data());
  write_classes(scores_.data(), num_images, k, out);
}

void Session::run(const float* input, std::size_t num_images, float* output) {
  check_prepared_input();
  const Turn turn(*this);
  queue_.wait_until_idle();
  const auto& layout = engine_->layout();
  const std::size_t input_size = layout.num_bytes(layout.prepared_dims(1)) / sizeof(float);
  for (std::size_t done = 0; done < num_images; done += max_batch_) {
    const auto batch = std::min(max_batch_, num_images - done);
    session_.run(input + done * input_size, layout.prepared_dims(static_cast<std::int64_t>(batch)),
                 output + done * engine_->output_size());
  }
}

void Session::run_images(const rd_image* images, std::size_t num_images, float* output) {
  const Turn turn(*this);
  queue_.wait_until_idle();
  compute(images, num_images, output);
}

void Session::submit(const rd_image* images, std::size_t num_images, std::int32_t k, const Callback& callback) {
  engine_->check_classes(k);
  const Turn turn(*this);
  if (queue_.is_full()) {
    throw Error(RD_BUSY, "256 requests wait for this session, which is all it takes; wait for some to be done");
  }
  const auto& layout = engine_->layout();
  auto request = std::make_shared<Request>();
  std::size_t num_bytes = 0;
  for (auto& indices : layout.split(images, num_images, max_batch_)) {
    auto dims = layout.image_dims(images[indices.front()]);
    dims[0] = static_cast<std::int64_t>(indices.size());
    request->batches.push_back({dims, num_bytes, std::move(indices)});
    num_bytes += layout.num_bytes(dims);
  }
  std::byte* place = request->input.reserve(num_bytes);
  for (const auto& batch : request->batches) {
    for (const auto index : batch.indices) {
      layout.prepare(images[index], place);
      place += layout.num_bytes(layout.image_dims(images[index]));
    }
  }
  request->num_images = num_images;
  request->k = k;
  request->callback = callback;
  queue_.push([this, request] { answer(*request); });
}

void Session::enqueue(const void* input, std::size_t num_images, void* output, void* stream) {
  check_prepared_input();
  if (num_images > max_batch_) {
    throw Error(RD_INVALID_ARGUMENT, "num_images is " + std::to_string(num_images) + ", this session takes at most " +
                                         std::to_string(max_batch_) + "; make one with a larger max_batch");
  }
  const Turn turn(*this);
  queue_.wait_until_idle();
  session_.enqueue(input, engine_->layout().prepared_dims(static_cast<std::int64_t>(num_images)),
                   static_cast<float*>(output), stream);
}

void Session::compute(const rd_image* images, std::size_t num_images, float* output) {
  const auto& layout = engine_->layout();
  for (const auto& indices : layout.split(images, num_images, max_batch_)) {
    auto dims = layout.image_dims(images[indices.front()]);
    const std::size_t image_bytes = layout.num_bytes(dims);
    std::byte* input = input_.reserve(image_bytes * indices.size());
    for (std::size_t i = 0; i < indices.size(); ++i) layout.prepare(images[indices[i]], input + i * image_bytes);
    dims[0] = static_cast<std::int64_t>(indices.size());
    run_batch(input, dims, indices, output);
  }
}

void Session::run_batch(const std::byte* input, Dims dims, const std::vector<std::size_t>& indices, float* output) {
  const auto size = engine_->output_size();
  session_.run(input, dims, batch_output_.data());
  for (std::size_t i = 0; i < indices.size(); ++i) {
    std::copy_n(batch_output_.data() + i * size, size, output + indices[i] * size);
  }
}

void Session::write_classes(const float* scores, std::size_t num_images, std::int32_t k, rd_class* out) const {
  const auto size = engine_->output_size();
  for (std::size_t i = 0; i < num_images; ++i) {
    write_top_k(scores + i * size, size, engine_->gives_logits(), engine_->labels(), k,
                out + i * static_cast<std::size_t>(k));
  }
}

void Session::answer(const Request& request) noexcept {
  fail_on_exception(request.callback, engine_->log(), [&] {
    std::vector<float> scores(request.num_images * engine_->output_size());
    for (const auto& batch : request.batches) {
      run_batch(request.input.data() + batch.offset, batch.dims, batch.indices, scores.data());
    }
    std::vector<rd_class> classes(request.num_images * static_cast<std::size_t>(request.k));
    write_classes(scores.data(), request.num_images, request.k, classes.data());
    request.callback.succeed(classes.data(), classes.size(), engine_->log());
  });
}

void Session::check_prepared_input() const {
  if (engine_->layout().takes_pixels()) {
    throw Error(RD_UNSUPPORTED, "the network takes uint8 pixels and prepares them itself; use rd_run_images");
  }
}

}  // namespace resnet_deploy
