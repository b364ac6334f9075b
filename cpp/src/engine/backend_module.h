// Finds and loads a backend's module, libresnet_deploy_<name>.so.
#ifndef RESNET_DEPLOY_ENGINE_BACKEND_MODULE_H
#define RESNET_DEPLOY_ENGINE_BACKEND_MODULE_H

#include <string>
#include <vector>

#include "backend.h"

namespace resnet_deploy {

// Folders to look in, in order: `given` (':' between folders) where it is not empty; else the folder of this library,
// its
// ../lib/resnet_deploy and resnet_deploy below it, then those of RESNET_DEPLOY_BACKEND_PATH.
std::vector<std::string> module_folders(const std::string& given);

// Whether `name` may be part of a module's file name: a-z, 0-9 and '_'.
bool is_backend_name(const std::string& name);

// A module stays loaded until the process ends: runtimes keep threads and statics that outlive their last model.
// Throws Error(RD_NO_BACKEND): no such file, it does not load, or it serves another ABI.
const rd_backend& load_backend(const std::string& name, const std::vector<std::string>& folders);

}  // namespace resnet_deploy

#endif
