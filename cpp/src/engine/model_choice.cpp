#include "engine/model_choice.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "engine/backend_module.h"
#include "engine/self_test.h"
#include "error.h"
#include "printable.h"

namespace resnet_deploy {

namespace {

std::vector<std::string> default_backends(const BundleModel& model) {
  if (model.product == "tensorrt") return {"tensorrt"};
  if (model.product == "tensorrt-rtx") return {"tensorrt_rtx"};
  return {"openvino", "onnxruntime"};
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

class Choice {
 public:
  Choice(const Bundle& bundle, const OpenOptions& options, StageClock& clock)
      : bundle_(bundle), options_(options), clock_(clock) {
    if (!options.skip_self_test) golden_.emplace(golden_image(bundle));
    clock.lap("golden image");
  }

  ChosenModel make() {
    for (const auto& model : bundle_.manifest().models) {
      for (const auto& name : options_.backends.empty() ? default_backends(model) : options_.backends) {
        if (auto chosen = attempt(model, name)) return std::move(*chosen);
      }
    }
    // Of the first model that a loaded module was given; without any, no module fits.
    throw Error(status_ == RD_OK ? RD_NO_BACKEND : status_, "no model of the bundle opens:\n" + notes_);
  }

 private:
  std::optional<ChosenModel> attempt(const BundleModel& model, const std::string& name) {
    bool was_given = false;
    try {
      const auto& backend = load_backend(name, options_.module_folders);
      if (backend.takes(model.format.c_str(), model.product.c_str()) == 0) {
        note(model, name, "does not take " + (model.product.empty() ? model.format : model.product) + " files");
        return std::nullopt;
      }
      clock_.lap("module " + name);
      was_given = true;
      return open(model, backend);
    } catch (const Error& error) {
      if (was_given && status_ == RD_OK) status_ = error.status();
      note(model, name, error.what());
      return std::nullopt;
    }
  }

  ChosenModel open(const BundleModel& model, const rd_backend& backend) {
    ChosenModel chosen;
    chosen.model = &model;
    chosen.opened = std::make_unique<BackendModel>(backend, model, bundle_.file(model.path), options_);
    clock_.lap("deserialising by " + std::string(backend.name));
    if (golden_) {
      chosen.self_test_error = run_self_test(model, bundle_.manifest().preprocess, *chosen.opened, *golden_);
      clock_.lap("self-test");
    }
    chosen.notes = notes_;
    return chosen;
  }

  void note(const BundleModel& model, const std::string& name, const std::string& reason) {
    const auto line = model.path + " by " + name + ": " + one_line(printable(reason));
    options_.log.write(RD_LOG_WARNING, line);
    notes_ += (notes_.empty() ? "" : "\n") + line;
  }

  const Bundle& bundle_;
  const OpenOptions& options_;
  StageClock& clock_;
  std::optional<Pixels> golden_;
  std::string notes_;
  rd_status status_ = RD_OK;
};

}  // namespace

ChosenModel choose_model(const Bundle& bundle, const OpenOptions& options, StageClock& clock) {
  return Choice(bundle, options, clock).make();
}

}  // namespace resnet_deploy
