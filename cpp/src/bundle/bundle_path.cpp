#include "bundle/bundle_path.h"

#include <algorithm>

namespace resnet_deploy {

namespace {

bool is_allowed(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

}  // namespace

std::vector<std::string> path_parts(std::string_view path) {
  std::vector<std::string> parts;
  for (;;) {
    const auto slash = path.find('/');
    parts.emplace_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

std::string path_fault(std::string_view path) {
  if (path.empty()) return "it is empty";
  if (path.size() > kMaxPathBytes) return "it is longer than " + std::to_string(kMaxPathBytes) + " characters";
  const auto parts = path_parts(path);
  if (parts.size() > kMaxPathParts) return "it has more than " + std::to_string(kMaxPathParts) + " parts";
  for (const auto& part : parts) {
    if (part.empty()) return "it is absolute or has an empty part";
    if (part.front() == '.') return "its part \"" + part + "\" begins with a dot";
    if (!std::all_of(part.begin(), part.end(), is_allowed)) return "it holds a character other than A-Z a-z 0-9 . _ -";
  }
  return "";
}

}  // namespace resnet_deploy
