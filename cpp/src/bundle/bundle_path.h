// The paths that a manifest may name.
#ifndef RESNET_DEPLOY_BUNDLE_BUNDLE_PATH_H
#define RESNET_DEPLOY_BUNDLE_BUNDLE_PATH_H

#include <string>
#include <string_view>
#include <vector>

namespace resnet_deploy {

constexpr std::size_t kMaxPathBytes = 200;
constexpr std::size_t kMaxPathParts = 8;

// "" where `path` is allowed; else why not. Relative, parts of [A-Za-z0-9._-] that do not begin with a dot.
std::string path_fault(std::string_view path);
std::vector<std::string> path_parts(std::string_view path);

}  // namespace resnet_deploy

#endif
