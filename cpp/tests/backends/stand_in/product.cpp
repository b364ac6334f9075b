// The stand-in for NVIDIA's library, compiled against the headers of one product: libnvinfer.so or libtensorrt_rtx.so.
#include <NvInferRuntime.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "product_tables.h"
#include "stand_in.h"

#define STAND_IN __attribute__((visibility("default")))

using namespace nvinfer1;

namespace {

ILogger* logger = nullptr;

bool refuse(const char* function) {
  if (!stand_in_fails(function)) return false;
  logger->log(ILogger::Severity::kERROR, (std::string(function) + " was told\n to fail").c_str());
  return true;
}

bool fault(const char* text) {
  logger->log(ILogger::Severity::kERROR, text);
  return false;
}

Dims dims_of(const std::int64_t* sizes, std::int32_t count) {
  Dims dims{};
  dims.nbDims = count;
  std::copy_n(sizes, count, dims.d);
  return dims;
}

// What one launch computes; freed when it ran.
struct Launch {
  StandInEngine engine;
  std::int64_t sizes[4];
  const void* input;
  float* output;

  double value(std::int64_t image, std::int64_t channel, std::int64_t pixel, std::int64_t num_pixels) const {
    if (engine.takes_pixels != 0) {
      return static_cast<const std::uint8_t*>(input)[(image * num_pixels + pixel) * 3 + channel];
    }
    return static_cast<const float*>(input)[(image * 3 + channel) * num_pixels + pixel];
  }

  void compute() const {
    const bool pixels = engine.takes_pixels != 0;
    const std::int64_t num_pixels = pixels ? sizes[1] * sizes[2] : sizes[2] * sizes[3];
    for (std::int64_t image = 0; image < sizes[0]; ++image) {
      double sum = 0;
      for (std::int64_t pixel = 0; pixel < num_pixels; ++pixel) {
        for (int channel = 0; channel < 3; ++channel) sum += (1 << channel) * value(image, channel, pixel, num_pixels);
      }
      for (int k = 0; k < engine.num_outputs; ++k)
        output[image * engine.num_outputs + k] = static_cast<float>(sum * (k + 1));
    }
  }

  static void run(void* launch) {
    const std::unique_ptr<Launch> owner(static_cast<Launch*>(launch));
    owner->compute();
  }
};

class Context final : public IExecutionContext, private apiv::ExecutionContextTable {
 public:
  explicit Context(const StandInEngine& engine) : engine_(engine) {
    mImpl = this;
    ++stand_in_control()->alive;
  }
  ~Context() noexcept override { stand_in_control()->alive -= stand_in_is_current() ? 1 : 0; }

 private:
  IExecutionContext* getPImpl() noexcept override { return this; }

  bool setOptimizationProfileAsync(std::int32_t index, cudaStream_t) noexcept override {
    if (refuse("setOptimizationProfileAsync")) return false;
    profile_ = index;
    return true;
  }

  bool setInputShape(const char*, const Dims& dims) noexcept override {
    std::fill_n(sizes_, 4, 0);  // a shape that is refused takes the last one with it
    if (refuse("setInputShape")) return false;
    for (int axis = 0; axis < 4; ++axis) {
      if (dims.d[axis] < engine_.min[profile_][axis] || dims.d[axis] > engine_.max[profile_][axis]) {
        return fault("a shape outside the profile");
      }
    }
    std::copy_n(dims.d, 4, sizes_);
    return true;
  }

  Dims getTensorShape(const char*) const noexcept override {
    const std::int64_t sizes[2] = {sizes_[0], stand_in_fails("getTensorShape") ? -1 : engine_.num_outputs};
    return dims_of(sizes, 2);
  }

  bool setTensorAddress(const char* name, void* address) noexcept override {
    if (refuse("setTensorAddress")) return false;
    (std::strcmp(name, "images") == 0 ? input_ : output_) = address;
    return true;
  }

  bool enqueueV3(cudaStream_t stream) noexcept override {
    if (busy_.exchange(true)) return fault("a context is used from two threads");
    const bool done = launch(stream);
    busy_ = false;
    return done;
  }

  bool launch(cudaStream_t stream) {
    if (refuse("enqueueV3")) return false;
    if (!stand_in_is_current()) return fault("no device is current");
    std::size_t count = engine_.takes_pixels != 0 ? 1 : sizeof(float);
    for (const std::int64_t size : sizes_) count *= static_cast<std::size_t>(size);
    const std::size_t out_bytes = static_cast<std::size_t>(sizes_[0] * engine_.num_outputs) * sizeof(float);
    if (count == 0 || !stand_in_holds(input_, count) || !stand_in_holds(output_, out_bytes)) {
      return fault("an address is not in GPU memory, or there is not enough of it");
    }
    auto work = std::make_unique<Launch>();
    work->engine = engine_;
    std::copy_n(sizes_, 4, work->sizes);
    work->input = input_;
    work->output = static_cast<float*>(output_);
    stand_in_push(stream, Launch::run, work.release());
    return true;
  }

  StandInEngine engine_;
  std::int32_t profile_ = 0;
  std::int64_t sizes_[4] = {0, 0, 0, 0};
  void* input_ = nullptr;
  void* output_ = nullptr;
  std::atomic<bool> busy_{false};
};

#if RD_TENSORRT_RTX
class Config final : public IRuntimeConfig, private apiv::RuntimeConfigTable {
 public:
  Config() {
    mImpl = this;
    ++stand_in_control()->alive;
  }
  ~Config() noexcept override { --stand_in_control()->alive; }
  bool is_set() const { return graphs_ && eager_; }

 private:
  IRuntimeConfig* getPImpl() noexcept override { return this; }
  bool setCudaGraphStrategy(CudaGraphStrategy strategy) noexcept override {
    graphs_ = strategy == CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE;
    return !refuse("setCudaGraphStrategy");
  }
  void setDynamicShapesKernelSpecializationStrategy(
      DynamicShapesKernelSpecializationStrategy strategy) noexcept override {
    eager_ = strategy == DynamicShapesKernelSpecializationStrategy::kEAGER;
  }
  bool graphs_ = false;
  bool eager_ = false;
};
#endif

class Engine final : public ICudaEngine, private apiv::CudaEngineTable {
 public:
  explicit Engine(const StandInEngine& engine) : engine_(engine) {
    mImpl = this;
    ++stand_in_control()->alive;
  }
  // as an engine frees GPU memory: without a device it stays
  ~Engine() noexcept override { stand_in_control()->alive -= stand_in_is_current() ? 1 : 0; }

 private:
  ICudaEngine* getPImpl() noexcept override { return this; }
  std::int32_t getNbIOTensors() const noexcept override { return 1 + engine_.num_output_tensors; }
  const char* getIOTensorName(std::int32_t index) const noexcept override {
    if (stand_in_fails("getIOTensorName")) return nullptr;
    return index == 0 ? "images" : index == 1 ? "logits" : "features";
  }
  TensorIOMode getTensorIOMode(const char* name) const noexcept override {
    return is_input(name) ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
  }
  DataType getTensorDataType(const char* name) const noexcept override {
    if (!is_input(name)) return engine_.output_is_half != 0 ? DataType::kHALF : DataType::kFLOAT;
    return engine_.takes_pixels != 0 ? DataType::kUINT8 : DataType::kFLOAT;
  }
  TensorLocation getTensorLocation(const char*) const noexcept override {
    return engine_.on_host != 0 ? TensorLocation::kHOST : TensorLocation::kDEVICE;
  }
  TensorFormat getTensorFormat(const char*) const noexcept override { return TensorFormat::kLINEAR; }

  Dims getTensorShape(const char* name) const noexcept override {
    const std::int64_t output[2] = {size_of(0), engine_.num_outputs};
    const std::int64_t input[4] = {size_of(0), size_of(1), size_of(2), size_of(3)};
    return is_input(name) ? dims_of(input, 4) : dims_of(output, 2);
  }

  Dims getProfileShape(const char*, std::int32_t index, OptProfileSelector select) const noexcept override {
    if (index >= engine_.num_profiles || stand_in_fails("getProfileShape")) return Dims{-1, {}};
    return dims_of(select == OptProfileSelector::kMIN ? engine_.min[index] : engine_.max[index], 4);
  }

  std::int32_t getNbOptimizationProfiles() const noexcept override { return engine_.num_profiles; }

  IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy) noexcept override {
    return make_context();
  }

#if RD_TENSORRT_RTX
  IExecutionContext* createExecutionContextWithRuntimeConfig(IRuntimeConfig* config) noexcept override {
    if (!static_cast<Config*>(config)->is_set()) {
      fault("the configuration is not set");
      return nullptr;
    }
    return make_context();
  }
  IRuntimeConfig* createRuntimeConfig() noexcept override {
    return refuse("createRuntimeConfig") ? nullptr : std::make_unique<Config>().release();
  }
#endif

  IExecutionContext* make_context() {
    if (refuse("createExecutionContext")) return nullptr;
    return std::make_unique<Context>(engine_).release();
  }

  bool is_input(const char* name) const { return std::strcmp(name, "images") == 0; }

  std::int64_t size_of(int axis) const {
    const std::int64_t first = engine_.min[0][axis];
    for (int profile = 0; profile < engine_.num_profiles; ++profile) {
      if (engine_.min[profile][axis] != first || engine_.max[profile][axis] != first) return -1;
    }
    return first;
  }

  StandInEngine engine_;
};

class Runtime final : public IRuntime, private apiv::RuntimeTable {
 public:
  Runtime() {
    mImpl = this;
    ++stand_in_control()->alive;
  }
  ~Runtime() noexcept override { --stand_in_control()->alive; }

 private:
  IRuntime* getPImpl() noexcept override { return this; }

  ICudaEngine* deserializeCudaEngine(const void* bytes, std::size_t num_bytes) noexcept override {
    if (refuse("deserializeCudaEngine")) return nullptr;
    StandInEngine engine;
    if (num_bytes != sizeof engine || !stand_in_is_current()) {
      fault("not an engine, or no device is current");
      return nullptr;
    }
    std::memcpy(&engine, bytes, sizeof engine);
    return std::make_unique<Engine>(engine).release();
  }

#if RD_TENSORRT_RTX
  EngineValidity getEngineValidity(const void*, std::int64_t, std::uint64_t* diagnostics) const noexcept override {
    const StandInControl& control = *stand_in_control();
    if (control.diagnostics != 0) *diagnostics = control.diagnostics;  // the real one leaves it, too
    return static_cast<EngineValidity>(control.validity);
  }
#endif
};

}  // namespace

extern "C" {
STAND_IN std::int32_t getInferLibMajorVersion() noexcept { return NV_TENSORRT_MAJOR; }
STAND_IN std::int32_t getInferLibMinorVersion() noexcept { return NV_TENSORRT_MINOR; }
STAND_IN std::int32_t getInferLibPatchVersion() noexcept { return NV_TENSORRT_PATCH; }
STAND_IN std::int32_t getInferLibBuildVersion() noexcept { return NV_TENSORRT_BUILD; }
STAND_IN void* createInferRuntime_INTERNAL(void* given, std::int32_t version) noexcept {
  logger = static_cast<ILogger*>(given);
  if (version != NV_TENSORRT_VERSION || refuse("createInferRuntime")) return nullptr;
  return static_cast<IRuntime*>(std::make_unique<Runtime>().release());
}
}
