#include "loaded_module.h"

#include <dlfcn.h>

#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>

namespace resnet_deploy::tests {
namespace {

constexpr int kClasses = 4;

// value(n, channel, pixel) summed as (R + 2 G + 4 B) * (k + 1)
template <typename ValueAt>
std::vector<float> sums(std::int64_t n, std::int64_t num_pixels, ValueAt value_at) {
  std::vector<float> result;
  for (std::int64_t image = 0; image < n; ++image) {
    double sum = 0;
    for (std::int64_t pixel = 0; pixel < num_pixels; ++pixel) {
      sum += value_at(image, 0, pixel) + 2.0 * value_at(image, 1, pixel) + 4.0 * value_at(image, 2, pixel);
    }
    for (int k = 1; k <= kClasses; ++k) result.push_back(static_cast<float>(sum * k));
  }
  return result;
}

}  // namespace

void Log::write(void* user, rd_log_level level, const char* text) {
  auto& log = *static_cast<Log*>(user);
  const std::lock_guard<std::mutex> lock(log.mutex_);
  log.text_ += std::to_string(level) + " " + text + "\n";
}

std::string Log::text() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return text_;
}

LoadedModule::LoadedModule(const std::string& file) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  entry_ = reinterpret_cast<rd_backend_entry_fn>(dlsym(library, RD_BACKEND_ENTRY));
  if (entry_ == nullptr) throw std::runtime_error(file + " has no " + RD_BACKEND_ENTRY);
  table_ = entry_(RD_BACKEND_ABI);
  if (table_ == nullptr) throw std::runtime_error(file + " does not serve this ABI");
}

OpenModel::OpenModel(const LoadedModule& module, const Source& source) : table(module.table()) {
  rd_model_source given{};
  given.struct_size = sizeof given;
  given.bytes = source.bytes.data();
  given.num_bytes = source.bytes.size();
  given.file = source.file.c_str();
  given.format = source.format.c_str();
  given.product = source.product.c_str();
  given.version = source.version.c_str();
  given.compute_capabilities = source.compute_capabilities.data();
  given.num_compute_capabilities = source.compute_capabilities.size();
  given.hardware_compatible = source.hardware_compatible ? 1 : 0;
  given.input_name = source.input_name.c_str();
  given.output_name = source.output_name.c_str();
  given.input_element = source.input_element;
  given.num_outputs = source.num_outputs;
  given.device = source.device;
  given.num_threads = source.num_threads;
  given.log = Log::write;
  given.log_user = &log;
  info.struct_size = sizeof info;
  rd_backend_error error{};
  outcome.status = table.open(&given, &handle, &info, &error);
  outcome.error = error.text;
}

OpenModel::~OpenModel() {
  if (handle != nullptr) table.close(handle);
}

OpenSession::OpenSession(OpenModel& model, std::int32_t max_batch) : table(model.table) {
  rd_backend_error error{};
  outcome.status = table.create_session(model.handle, max_batch, &handle, &error);
  outcome.error = error.text;
}

OpenSession::~OpenSession() {
  if (handle != nullptr) table.destroy_session(handle);
}

std::vector<std::uint8_t> pixels(std::int64_t n, std::int64_t h, std::int64_t w, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> values(static_cast<std::size_t>(n * h * w * 3));
  for (auto& value : values) value = static_cast<std::uint8_t>(random() & 0xFFU);
  return values;
}

std::vector<float> planes(std::int64_t n, std::int64_t h, std::int64_t w, unsigned seed) {
  const auto values = pixels(n, h, w, seed);
  return {values.begin(), values.end()};
}

std::vector<float> sums_of(const std::vector<float>& planes, std::int64_t n, std::int64_t h, std::int64_t w) {
  return sums(n, h * w, [&](std::int64_t image, std::int64_t channel, std::int64_t pixel) {
    return planes[static_cast<std::size_t>((image * 3 + channel) * h * w + pixel)];
  });
}

std::vector<float> sums_of(const std::vector<std::uint8_t>& pixels, std::int64_t n, std::int64_t h, std::int64_t w) {
  return sums(n, h * w, [&](std::int64_t image, std::int64_t channel, std::int64_t pixel) {
    return pixels[static_cast<std::size_t>((image * h * w + pixel) * 3 + channel)];
  });
}

std::string read_file(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw std::runtime_error("no file " + file);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

}  // namespace resnet_deploy::tests
