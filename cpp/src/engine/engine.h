// An opened bundle: what sessions and batchers share. Immutable once made, so any thread may use it.
#ifndef RESNET_DEPLOY_ENGINE_ENGINE_H
#define RESNET_DEPLOY_ENGINE_ENGINE_H

#include <memory>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "engine/backend_model.h"
#include "engine/image_batch.h"
#include "engine/model_choice.h"
#include "engine/open_options.h"

namespace resnet_deploy {

class Engine {
 public:
  // Throws Error, each stage with its own status; see rd_engine_open.
  Engine(const std::string& folder, const OpenOptions& options);

  const rd_engine_info& info() const noexcept { return info_; }
  const std::vector<std::string>& labels() const noexcept { return bundle_.labels(); }
  const BackendModel& model() const noexcept { return *chosen_.opened; }
  const InputLayout& layout() const noexcept { return layout_; }
  std::size_t output_size() const noexcept { return static_cast<std::size_t>(info_.output_size); }
  bool gives_logits() const noexcept { return bundle_.manifest().output == "logits"; }
  const Log& log() const noexcept { return log_; }
  // Throws Error: the network gives no classes, or `k` is not 1..output_size.
  void check_classes(std::int32_t k) const;
  // Throws Error: not 1..the model's largest.
  void check_max_batch(std::int32_t max_batch) const;

 private:
  rd_engine_info make_info() const;

  Log log_;
  StageClock clock_;
  Bundle bundle_;  // before chosen_, which reads its mapped files
  ChosenModel chosen_;
  InputLayout layout_;
  rd_engine_info info_;
};

}  // namespace resnet_deploy

#endif
