// Which model of a bundle runs here, by which backend: the first that opens and passes its self-test.
#ifndef RESNET_DEPLOY_ENGINE_MODEL_CHOICE_H
#define RESNET_DEPLOY_ENGINE_MODEL_CHOICE_H

#include <memory>
#include <string>

#include "bundle/bundle.h"
#include "engine/backend_model.h"
#include "engine/open_options.h"
#include "stage_clock.h"

namespace resnet_deploy {

struct ChosenModel {
  const BundleModel* model = nullptr;  // of the bundle's manifest
  std::unique_ptr<BackendModel> opened;
  double self_test_error = -1;  // negative: not run
  std::string notes;            // why those before it did not open, a line each
};

// Throws Error: none opens; it names each with its reason, and has the status of the first that was tried.
ChosenModel choose_model(const Bundle& bundle, const OpenOptions& options, StageClock& clock);

}  // namespace resnet_deploy

#endif
