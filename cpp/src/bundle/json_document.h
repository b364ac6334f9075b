// JSON text to a tree, strictly: bounded in size and depth, no key twice, no control character in a string.
#ifndef RESNET_DEPLOY_BUNDLE_JSON_DOCUMENT_H
#define RESNET_DEPLOY_BUNDLE_JSON_DOCUMENT_H

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace resnet_deploy {

constexpr std::size_t kMaxJsonBytes = std::size_t{4} << 20;
constexpr int kMaxJsonDepth = 16;

// Throws Error(RD_BAD_MANIFEST); `name` begins its message.
nlohmann::json parse_json(std::string_view text, const std::string& name);

}  // namespace resnet_deploy

#endif
