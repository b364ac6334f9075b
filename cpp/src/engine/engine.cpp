#include "engine/engine.h"

#include "error.h"

namespace resnet_deploy {

Engine::Engine(const std::string& folder, const OpenOptions& options)
    : log_(options.log),
      clock_(log_),
      bundle_(folder, options.public_key_pem, clock_),
      chosen_(choose_model(bundle_, options, clock_)),
      layout_(bundle_.manifest().preprocess, chosen_.model->takes_pixels),
      info_(make_info()) {}

rd_engine_info Engine::make_info() const {
  const auto& manifest = bundle_.manifest();
  rd_engine_info info{};
  info.struct_size = sizeof(info);
  info.name = manifest.name.c_str();
  info.net = manifest.net.c_str();
  info.backend = chosen_.opened->backend().name;
  info.runtime = chosen_.opened->runtime().c_str();
  info.device = chosen_.opened->device().c_str();
  info.model = chosen_.model->path.c_str();
  info.precision = chosen_.model->precision.c_str();
  info.output = manifest.output.c_str();
  info.notes = chosen_.notes.c_str();
  info.max_batch = chosen_.opened->max_batch();
  info.output_size = chosen_.model->output_size;
  info.num_labels = static_cast<std::int32_t>(bundle_.labels().size());
  info.pixels_in_graph = chosen_.model->takes_pixels ? 1 : 0;
  info.is_signed = bundle_.is_signed() ? 1 : 0;
  info.self_test_error = chosen_.self_test_error;
  info.preprocess = manifest.preprocess;
  return info;
}

void Engine::check_classes(std::int32_t k) const {
  if (bundle_.manifest().output == "features") {
    throw Error(RD_UNSUPPORTED, "the network gives features, not classes; use rd_run_images");
  }
  if (k < 1 || k > info_.output_size) {
    throw Error(RD_INVALID_ARGUMENT, "k is " + std::to_string(k) + ", expected 1 to " +
                                         std::to_string(info_.output_size) + ", the number of classes");
  }
}

void Engine::check_max_batch(std::int32_t max_batch) const {
  if (max_batch < 1)
    throw Error(RD_INVALID_ARGUMENT, "max_batch is " + std::to_string(max_batch) + ", expected 1 or more");
  if (info_.max_batch > 0 && max_batch > info_.max_batch) {
    throw Error(RD_INVALID_ARGUMENT, "max_batch is " + std::to_string(max_batch) + ", " + info_.model +
                                         " takes at most " + std::to_string(info_.max_batch) +
                                         "; use smaller batches, or build it for larger ones");
  }
}

}  // namespace resnet_deploy
