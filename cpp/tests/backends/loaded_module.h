// A backend module, loaded from its file and called through its table as the core does.
#ifndef RESNET_DEPLOY_TESTS_LOADED_MODULE_H
#define RESNET_DEPLOY_TESTS_LOADED_MODULE_H

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backend.h"

namespace resnet_deploy::tests {

// Everything that a module said; from any thread.
class Log {
 public:
  static void write(void* user, rd_log_level level, const char* text);
  std::string text() const;  // a line each: "3 the words"

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

// What the core says of a model, with its memory.
struct Source {
  std::string bytes;
  std::string file = "sums.onnx";
  std::string format = "onnx";
  std::string product;
  std::string version;
  std::vector<std::int32_t> compute_capabilities;
  bool hardware_compatible = false;
  std::string input_name = "images";
  std::string output_name = "logits";
  rd_element input_element = RD_FLOAT32;
  std::int32_t num_outputs = 4;
  std::int32_t device = 0;
  std::int32_t num_threads = 1;
};

struct Outcome {
  rd_status status = RD_OK;
  std::string error;
};

class LoadedModule {
 public:
  explicit LoadedModule(const std::string& file);  // throws std::runtime_error
  const rd_backend& table() const { return *table_; }
  rd_backend_entry_fn entry() const { return entry_; }

 private:
  rd_backend_entry_fn entry_;
  const rd_backend* table_;
};

class OpenModel {
 public:
  OpenModel(const LoadedModule& module, const Source& source);
  ~OpenModel();
  OpenModel(const OpenModel&) = delete;
  OpenModel& operator=(const OpenModel&) = delete;

  Outcome outcome;
  rd_model_info info{};
  Log log;
  void* handle = nullptr;
  const rd_backend& table;
};

class OpenSession {
 public:
  OpenSession(OpenModel& model, std::int32_t max_batch);
  ~OpenSession();
  OpenSession(const OpenSession&) = delete;
  OpenSession& operator=(const OpenSession&) = delete;

  template <typename Value>
  std::vector<float> run(const std::vector<Value>& input, const std::int64_t (&dims)[4], std::int32_t num_outputs = 4) {
    std::vector<float> output(
        static_cast<std::size_t>(dims[0] > 0 ? dims[0] : 1) * static_cast<std::size_t>(num_outputs), -1.0F);
    rd_backend_error error{};
    outcome.status = table.run(handle, input.data(), dims, output.data(), &error);
    outcome.error = error.text;
    return output;
  }

  Outcome outcome;
  void* handle = nullptr;
  const rd_backend& table;
};

// Images of whole numbers, the same for the same seed, and what the networks of data/make_models.py give for them.
std::vector<float> planes(std::int64_t n, std::int64_t h, std::int64_t w, unsigned seed);
std::vector<std::uint8_t> pixels(std::int64_t n, std::int64_t h, std::int64_t w, unsigned seed);
std::vector<float> sums_of(const std::vector<float>& planes, std::int64_t n, std::int64_t h, std::int64_t w);
std::vector<float> sums_of(const std::vector<std::uint8_t>& pixels, std::int64_t n, std::int64_t h, std::int64_t w);

std::string read_file(const std::string& file);

}  // namespace resnet_deploy::tests
#endif
