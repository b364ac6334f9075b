#include "model.h"

#include <algorithm>

#include "engine_tensors.h"
#include "failure.h"

namespace resnet_deploy::backend {
namespace {

std::string text_of_capability(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

void check_capability(const rd_model_source& source, const CudaDevice& device) {
  const std::int32_t* const begin = source.compute_capabilities;
  const std::int32_t* const end = begin + source.num_compute_capabilities;
  if (begin == end || std::find(begin, end, device.compute_capability()) != end) return;
  const bool is_compatible = source.hardware_compatible != 0;
  if (is_compatible && device.compute_capability() >= *std::min_element(begin, end)) return;
  std::string wanted;
  for (const std::int32_t* one = begin; one != end; ++one) {
    wanted += (wanted.empty() ? "" : ", ") + text_of_capability(*one);
  }
  throw Failure(RD_WRONG_GPU, std::string(source.file) + ": the engine was built for compute capability " + wanted +
                                  (is_compatible ? " and later, " : ", ") + device.name() + " has " +
                                  text_of_capability(device.compute_capability()) +
                                  "; build an engine for it and add it to the bundle");
}

#if RD_TENSORRT_RTX
// The status of what getEngineValidity found; RD_OK where it could not ask.
rd_status status_of(std::uint64_t diagnostics) {
  using Why = nvinfer1::EngineInvalidityDiagnostics;
  const auto has = [diagnostics](Why why) { return (diagnostics & static_cast<std::uint64_t>(why)) != 0; };
  if (has(Why::kMALFORMED_ENGINE)) return RD_ENGINE_REFUSED;
  if (has(Why::kVERSION_MISMATCH)) return RD_VERSION_MISMATCH;
  if (has(Why::kOLD_CUDA_DRIVER) || has(Why::kCUDA_ERROR)) return RD_NO_DRIVER;
  if (has(Why::kUNSUPPORTED_CC)) return RD_WRONG_GPU;
  if (has(Why::kINSUFFICIENT_GPU_MEMORY)) return RD_OUT_OF_MEMORY;
  return diagnostics == 0 ? RD_OK : RD_ENGINE_REFUSED;
}
#endif

}  // namespace

TensorRtModel::TensorRtModel(const rd_model_source& source)
    : library_(ProductLibrary::get()),
      file_(source.file),
      input_name_(source.input_name),
      output_name_(source.output_name),
      input_element_(source.input_element),
      num_outputs_(source.num_outputs),
      log_(source.log),
      log_user_(source.log_user),
      device_(
          (check_engine(kProduct, source.file, source.version, library_.version(), library_.file()), source.device)) {
  check_capability(source, device_);
  const CurrentDevice current(device_);
  const Listening listening(log_, log_user_);
  try {
    runtime_ = library_.make_runtime();
    check_validity(source, listening);
    deserialize(source, listening);
    check_engine_tensors(source, *engine_);
    profiles_ = read_profiles(source, *engine_);
    configure();
  } catch (...) {
    engine_.reset();  // frees GPU memory, for which the device must still be current
    runtime_.reset();
    throw;
  }
}

TensorRtModel::~TensorRtModel() {
  try {
    const CurrentDevice current(device_);
    const Listening listening(log_, log_user_);
#if RD_TENSORRT_RTX
    config_.reset();
#endif
    engine_.reset();
    runtime_.reset();
  } catch (const std::exception& error) {  // a GPU that was lost; the members' own destructors do what is left
    log_(log_user_, RD_LOG_ERROR, error.what());
  }
}

void TensorRtModel::check_validity([[maybe_unused]] const rd_model_source& source,
                                   [[maybe_unused]] const Listening& listening) {
#if RD_TENSORRT_RTX
  std::uint64_t diagnostics = 0;  // left unwritten where CUDA fails (seen in 1.7)
  const auto validity =
      runtime_->getEngineValidity(source.bytes, static_cast<std::int64_t>(source.num_bytes), &diagnostics);
  if (validity == nvinfer1::EngineValidity::kSUBOPTIMAL) {
    log_(log_user_, RD_LOG_WARNING, (file_ + ": the engine runs slower on this GPU than one built for it").c_str());
  }
  if (validity != nvinfer1::EngineValidity::kINVALID) return;
  const rd_status status = status_of(diagnostics);
  if (status == RD_OK) return;  // it could not ask the GPU: deserialising then says why
  throw Failure(status, file_ + ": " + library_.title() + " finds it not valid here (diagnostics " +
                            std::to_string(diagnostics) + "): " + listening.said() +
                            "; build it again for this machine");
#endif
}

void TensorRtModel::deserialize(const rd_model_source& source, const Listening& listening) {
  engine_.reset(runtime_->deserializeCudaEngine(source.bytes, source.num_bytes));
  if (engine_ != nullptr) return;
  throw Failure(RD_ENGINE_REFUSED, file_ + ": " + library_.title() + " on " + device_.name() + " (compute capability " +
                                       text_of_capability(device_.compute_capability()) + ", a driver for " +
                                       CudaDriver::get().version() + ") can not load it: " + listening.said() +
                                       "; build it again for this GPU with this release");
}

void TensorRtModel::configure() {
#if RD_TENSORRT_RTX
  config_.reset(engine_->createRuntimeConfig());
  if (config_ == nullptr) throw Failure(RD_ENGINE_REFUSED, file_ + ": " + library_.title() + " makes no configuration");
  // The launches of single kernels go. Captured after the kernels of a shape were compiled.
  if (!config_->setCudaGraphStrategy(nvinfer1::CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE)) {
    log_(log_user_, RD_LOG_WARNING, (file_ + ": runs without CUDA graphs, the library refuses them").c_str());
  }
  // Compiled before the first run of a shape, and not in the background: the self-test then runs what serves later.
  config_->setDynamicShapesKernelSpecializationStrategy(nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER);
#endif
}

std::int32_t TensorRtModel::max_batch() const {
  std::int64_t largest = 0;
  for (const Profile& profile : profiles_) largest = std::max(largest, profile.max[0]);
  return static_cast<std::int32_t>(largest);
}

const Profile& TensorRtModel::profile_for(std::int32_t batch) const {
  const Profile* best = nullptr;
  for (const Profile& profile : profiles_) {
    if (profile.max[0] >= batch && (best == nullptr || profile.max[0] < best->max[0])) best = &profile;
  }
  if (best == nullptr) throw Failure(RD_INTERNAL, file_ + ": no profile takes a batch of " + std::to_string(batch));
  return *best;
}

std::unique_ptr<nvinfer1::IExecutionContext> TensorRtModel::make_context(const Profile& profile, CUstream stream,
                                                                         const Listening& listening) {
  const std::lock_guard<std::mutex> lock(making_);
#if RD_TENSORRT_RTX
  std::unique_ptr<nvinfer1::IExecutionContext> context(engine_->createExecutionContext(config_.get()));
#else
  std::unique_ptr<nvinfer1::IExecutionContext> context(engine_->createExecutionContext());
#endif
  if (context == nullptr) {
    throw Failure(RD_OUT_OF_MEMORY, file_ + ": no execution context: " + listening.said() + "; free some GPU memory");
  }
  if (profile.index != 0 && !context->setOptimizationProfileAsync(profile.index, stream)) {
    throw Failure(RD_RUN_FAILED, file_ + ": optimization profile " + std::to_string(profile.index) +
                                     " is refused: " + listening.said());
  }
  return context;
}

}  // namespace resnet_deploy::backend
