// A backend for tests: a weighted sum of the input, and failures as its file says.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>

#include "entry.h"
#include "fake_script.h"

namespace resnet_deploy::backend {

namespace {

class FakeModel {
 public:
  explicit FakeModel(const rd_model_source& source)
      : script_(parse_fake_script({static_cast<const char*>(source.bytes), source.num_bytes})),
        file_(source.file),
        num_outputs_(source.num_outputs),
        takes_pixels_(source.input_element == RD_UINT8) {
    fail_if(script_.open, "open");
    source.log(source.log_user, RD_LOG_INFO, "the fake backend opened a model; its results mean nothing");
  }

  const std::string& file() const noexcept { return file_; }
  std::string runtime() const { return "fake 1"; }
  std::string device() const { return "CPU"; }
  std::int32_t max_batch() const noexcept { return script_.max_batch; }
  const FakeScript& script() const noexcept { return script_; }
  std::int32_t num_outputs() const noexcept { return num_outputs_; }
  bool takes_pixels() const noexcept { return takes_pixels_; }
  std::int64_t next_run() noexcept { return num_runs_++; }

  void fail_if(rd_status status, const char* what) const {
    if (status == RD_OK) return;
    throw Failure(status, script_.silent ? "" : file_ + ": scripted to fail at " + what);
  }

 private:
  FakeScript script_;
  std::string file_;
  std::int32_t num_outputs_;
  bool takes_pixels_;
  std::atomic<std::int64_t> num_runs_{0};
};

class FakeSession {
 public:
  FakeSession(FakeModel& model, std::int32_t max_batch) : model_(model), max_batch_(max_batch) {
    model_.fail_if(model_.script().session, "create_session");
  }

  void run(const void* input, const std::int64_t dims[4], float* output) {
    const auto& script = model_.script();
    check_batch(dims[0], max_batch_);
    if (script.delay_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(script.delay_us));
    if (model_.next_run() >= script.run_from) model_.fail_if(script.run, "run");
    const auto size = static_cast<std::size_t>(dims[1] * dims[2] * dims[3]);
    const auto num_outputs = static_cast<std::size_t>(model_.num_outputs());
    for (std::size_t n = 0; n < static_cast<std::size_t>(dims[0]); ++n) {
      for (std::size_t k = 0; k < num_outputs; ++k)
        output[n * num_outputs + k] = weighted_sum(input, n * size, size, k);
      if (script.nan) output[n * num_outputs] = NAN;
    }
  }

  bool has_device_memory() const noexcept { return model_.script().device_memory; }

 private:
  // The same for an image whatever runs beside it: one order of additions.
  float weighted_sum(const void* input, std::size_t begin, std::size_t size, std::size_t k) const {
    double sum = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const double value = model_.takes_pixels() ? static_cast<const std::uint8_t*>(input)[begin + i] / 255.0
                                                 : static_cast<double>(static_cast<const float*>(input)[begin + i]);
      sum += value * (static_cast<double>((i * 7 + k * 13) % 31) - 15.0);
    }
    return static_cast<float>(sum / static_cast<double>(size));
  }

  FakeModel& model_;
  std::int64_t max_batch_;
};

std::int32_t takes(const char* format, const char* product) {
  return std::strcmp(format, "onnx") == 0 && product[0] == '\0' ? 1 : 0;
}

rd_status enqueue(void* session, const void* input, const std::int64_t dims[4], float* output, void*,
                  rd_backend_error* error) {
  return guarded(error, RD_RUN_FAILED, [&] {
    auto& opened = *static_cast<FakeSession*>(session);
    if (!opened.has_device_memory()) throw Failure(RD_UNSUPPORTED, "this fake model has no device memory; use rd_run");
    opened.run(input, dims, output);
  });
}

using FakeEntry = Entry<FakeModel, FakeSession>;
constexpr rd_backend kBackend = FakeEntry::table("fake", takes, enqueue);

}  // namespace

}  // namespace resnet_deploy::backend

extern "C" __attribute__((visibility("default"))) const rd_backend* rd_backend_entry(uint32_t core_abi) {
  return core_abi == RD_BACKEND_ABI ? &resnet_deploy::backend::kBackend : nullptr;
}
