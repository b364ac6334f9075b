// The SDK for C++17 and later: a header over the C ABI of c_api.h, with values, futures and exceptions.
//
//   auto engine = resnet_deploy::Engine::open("resnet50.bundle");  // any number of threads may share it
//   auto session = engine.session(8);                              // one per thread
//   auto photo = resnet_deploy::Pixels::decode_file("cat.jpg");
//   for (const auto& best : session.classify(photo.image(), 5)) use(best.label, best.probability);
//
// Every function throws resnet_deploy::Error. Nothing of the C ABI has to be freed by hand. Images are in pixels.hpp.
#ifndef RESNET_DEPLOY_ENGINE_HPP
#define RESNET_DEPLOY_ENGINE_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "resnet_deploy/pixels.hpp"

namespace resnet_deploy {
// Names of this header are apart from those inside the library, and from those of another ABI.
inline namespace abi1 {

struct Class {
  int index = 0;
  float probability = 0;
  std::string label;  // "" where the bundle has none
};

using Classes = std::vector<Class>;  // of one image, best first

struct EngineInfo {
  std::string name, net, backend, runtime, device, model, precision, output, notes;  // as rd_engine_info
  int max_batch = 0;                                                                 // 0: no limit
  int output_size = 0;
  int num_labels = 0;
  bool pixels_in_graph = false;
  bool is_signed = false;
  double self_test_error = -1;  // negative: not run
  rd_preprocess_spec preprocess{};
};

// Every field has a default; with C++20: Engine::open(path, {.backends = "openvino"}).
struct OpenOptions {
  std::string backends;        // "": any, in the bundle's order; else e.g. "tensorrt_rtx,openvino"
  std::string backend_path;    // "": beside the library, then RESNET_DEPLOY_BACKEND_PATH; else folders with ':'
  std::string public_key_pem;  // "": a signature is not asked for
  int device = 0;
  int num_threads = 0;
  bool skip_self_test = false;
  std::function<void(rd_log_level, std::string_view)> log;  // called from any thread, also at once
};

struct BatcherOptions {
  int max_batch = 8;
  std::chrono::microseconds max_delay{2000};  // a request waits no longer than this for others
  int num_sessions = 1;
  int capacity = 1024;  // requests that may wait
};

namespace detail {

// An opened engine with what its log needs; goes with the last session or batcher that uses it.
struct Shared {
  rd_engine* engine = nullptr;
  std::function<void(rd_log_level, std::string_view)> log;

  Shared() = default;
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { rd_engine_close(engine); }

  static void write_log(void* user, rd_log_level level, const char* text) {
    try {
      static_cast<Shared*>(user)->log(level, text);
    } catch (...) {
      // No exception may go back through the C ABI.
    }
  }
};

inline std::vector<Classes> to_classes(const rd_class* found, std::size_t num_found, std::size_t k) {
  std::vector<Classes> images(k == 0 ? 0 : num_found / k);
  for (std::size_t i = 0; i < images.size(); ++i) {
    for (std::size_t rank = 0; rank < k; ++rank) {
      const rd_class& one = found[i * k + rank];
      images[i].push_back({one.index, one.probability, one.label});
    }
  }
  return images;
}

// A negative k is refused by the library; here it only sizes memory.
inline std::size_t num_classes_of(int k) { return k > 0 ? static_cast<std::size_t>(k) : 0; }

// What a submitted request answers: one for each, freed by the callback.
template <class Result, Result (*kConvert)(const rd_class*, std::size_t, std::size_t)>
struct Answer {
  std::promise<Result> promise;
  std::size_t k = 0;

  static void done(void* user, rd_status status, const char* error, const rd_class* found, std::size_t num_found) {
    const std::unique_ptr<Answer> answer(static_cast<Answer*>(user));
    try {
      if (status != RD_OK) throw Error(status, error);
      answer->promise.set_value(kConvert(found, num_found, answer->k));
    } catch (...) {
      answer->promise.set_exception(std::current_exception());
    }
  }

  // `submit` gets the callback and its argument.
  template <class Submit>
  static std::future<Result> request(int k, Submit&& submit) {
    auto answer = std::make_unique<Answer>();
    answer->k = num_classes_of(k);
    auto future = answer->promise.get_future();
    check(submit(&Answer::done, answer.get()));
    static_cast<void>(answer.release());  // the callback's from here
    return future;
  }
};

inline Classes to_one(const rd_class* found, std::size_t num_found, std::size_t k) {
  return std::move(to_classes(found, num_found, k).at(0));
}

inline std::vector<rd_image> to_c(const std::vector<Image>& images) { return {images.begin(), images.end()}; }

}  // namespace detail

// From one thread at a time; moves, and keeps the engine open.
class Session {
 public:
  // The k best classes of each image.
  std::vector<Classes> classify(const std::vector<Image>& images, int k) {
    const auto given = detail::to_c(images);
    std::vector<rd_class> found(images.size() * detail::num_classes_of(k) + 1);  // never empty, for the check inside
    check(rd_classify(session_.get(), given.data(), given.size(), k, found.data()));
    return detail::to_classes(found.data(), found.size() - 1, detail::num_classes_of(k));
  }
  Classes classify(const Image& image, int k) { return std::move(classify(std::vector<Image>{image}, k).at(0)); }

  // Prepared input [num_images, 3, H, W] -> output [num_images, output_size].
  void run(const float* input, std::size_t num_images, float* output) {
    check(rd_run(session_.get(), input, num_images, output));
  }
  std::vector<float> run(const std::vector<float>& input) {
    if (input.empty() || input.size() % input_size_ != 0) {
      throw Error(RD_INVALID_ARGUMENT, "the input has " + std::to_string(input.size()) +
                                           " values, expected a multiple of " + std::to_string(input_size_));
    }
    std::vector<float> output(input.size() / input_size_ * output_size_);
    run(input.data(), input.size() / input_size_, output.data());
    return output;
  }

  std::vector<float> run_images(const std::vector<Image>& images) {
    const auto given = detail::to_c(images);
    std::vector<float> output(images.size() * output_size_ + 1);
    check(rd_run_images(session_.get(), given.data(), given.size(), output.data()));
    output.pop_back();
    return output;
  }

  // Returns at once; the images need not live longer than this call.
  std::future<std::vector<Classes>> submit(const std::vector<Image>& images, int k) {
    const auto given = detail::to_c(images);
    return detail::Answer<std::vector<Classes>, detail::to_classes>::request(k, [&](rd_done_fn done, void* user) {
      return rd_session_submit(session_.get(), given.data(), given.size(), k, done, user);
    });
  }

  // Device pointers and a cudaStream_t; only enqueues. TensorRT backends.
  void enqueue(const void* input, std::size_t num_images, void* output, void* stream) {
    check(rd_enqueue(session_.get(), input, num_images, output, stream));
  }

 private:
  friend class Engine;
  struct Free {
    void operator()(rd_session* session) const noexcept { rd_session_destroy(session); }
  };

  Session(std::shared_ptr<detail::Shared> shared, const EngineInfo& info, int max_batch)
      : shared_(std::move(shared)),
        input_size_(3 * static_cast<std::size_t>(info.preprocess.height_px) *
                    static_cast<std::size_t>(info.preprocess.width_px)),
        output_size_(static_cast<std::size_t>(info.output_size)) {
    rd_session* session = nullptr;
    check(rd_session_create(shared_->engine, max_batch, &session));
    session_.reset(session);
  }

  std::shared_ptr<detail::Shared> shared_;
  std::size_t input_size_;
  std::size_t output_size_;
  std::unique_ptr<rd_session, Free> session_;  // last: goes first
};

// From any number of threads. The destructor runs what waits; not from a callback.
class Batcher {
 public:
  std::future<Classes> submit(const Image& image, int k) {
    return detail::Answer<Classes, detail::to_one>::request(
        k, [&](rd_done_fn done, void* user) { return rd_batcher_submit(batcher_.get(), &image, k, done, user); });
  }

  rd_batcher_stats stats() const {
    rd_batcher_stats stats{};
    stats.struct_size = sizeof(stats);
    check(rd_batcher_get_stats(batcher_.get(), &stats));
    return stats;
  }

 private:
  friend class Engine;
  struct Free {
    void operator()(rd_batcher* batcher) const noexcept { rd_batcher_destroy(batcher); }
  };

  Batcher(std::shared_ptr<detail::Shared> shared, const BatcherOptions& options) : shared_(std::move(shared)) {
    rd_batcher_options given;
    rd_batcher_options_init(&given);
    given.max_batch = options.max_batch;
    const auto delay = options.max_delay.count();
    given.max_delay_us = delay < 0 ? -1 : static_cast<std::int32_t>(delay < INT32_MAX ? delay : INT32_MAX);
    given.num_sessions = options.num_sessions;
    given.capacity = options.capacity;
    rd_batcher* batcher = nullptr;
    check(rd_batcher_create(shared_->engine, &given, &batcher));
    batcher_.reset(batcher);
  }

  std::shared_ptr<detail::Shared> shared_;
  std::unique_ptr<rd_batcher, Free> batcher_;  // last: goes first
};

// An opened bundle. Copies share it; any number of threads may use it.
class Engine {
 public:
  static Engine open(const std::string& bundle, const OpenOptions& options = {}) {
    if (rd_abi_version() != RD_ABI_VERSION) {
      throw Error(RD_VERSION_MISMATCH, "the library loaded has ABI " + std::to_string(rd_abi_version()) +
                                           ", this program was compiled for " + std::to_string(RD_ABI_VERSION) +
                                           "; install the library of that release, or compile again");
    }
    auto shared = std::make_shared<detail::Shared>();
    shared->log = options.log;
    rd_open_options given;
    rd_open_options_init(&given);
    given.backends = c_text(options.backends);
    given.backend_path = c_text(options.backend_path);
    given.public_key_pem = c_text(options.public_key_pem);
    given.device = options.device;
    given.num_threads = options.num_threads;
    given.skip_self_test = options.skip_self_test ? 1 : 0;
    given.log = shared->log ? &detail::Shared::write_log : nullptr;
    given.log_user = shared.get();
    check(rd_engine_open(bundle.c_str(), &given, &shared->engine));
    return Engine(std::move(shared));
  }

  const EngineInfo& info() const noexcept { return *info_; }
  // "" where there is none.
  std::string label(int index) const {
    const char* text = rd_engine_label(shared_->engine, index);
    return text != nullptr ? text : "";
  }
  Session session(int max_batch = 1) const { return Session(shared_, *info_, max_batch); }
  Batcher batcher(const BatcherOptions& options = {}) const { return Batcher(shared_, options); }

 private:
  explicit Engine(std::shared_ptr<detail::Shared> shared)
      : shared_(std::move(shared)), info_(std::make_shared<const EngineInfo>(read_info(shared_->engine))) {}

  static const char* c_text(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

  static EngineInfo read_info(const rd_engine* engine) {
    rd_engine_info from{};
    from.struct_size = sizeof(from);
    check(rd_engine_get_info(engine, &from));
    EngineInfo info;
    info.name = from.name;
    info.net = from.net;
    info.backend = from.backend;
    info.runtime = from.runtime;
    info.device = from.device;
    info.model = from.model;
    info.precision = from.precision;
    info.output = from.output;
    info.notes = from.notes;
    info.max_batch = from.max_batch;
    info.output_size = from.output_size;
    info.num_labels = from.num_labels;
    info.pixels_in_graph = from.pixels_in_graph != 0;
    info.is_signed = from.is_signed != 0;
    info.self_test_error = from.self_test_error;
    info.preprocess = from.preprocess;
    return info;
  }

  std::shared_ptr<detail::Shared> shared_;
  std::shared_ptr<const EngineInfo> info_;
};

}  // namespace abi1
}  // namespace resnet_deploy

#endif
