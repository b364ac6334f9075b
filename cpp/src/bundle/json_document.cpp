#include "bundle/json_document.h"

#include <algorithm>
#include <set>
#include <vector>

#include "error.h"

namespace resnet_deploy {

namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& name, const std::string& why) {
  throw Error(RD_BAD_MANIFEST, name + ": " + why + "; make the bundle again with `resnet-deploy bundle`");
}

bool has_control_character(const std::string& text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

// Watches the parser: nlohmann-json itself neither bounds the depth nor minds a key that comes twice.
class Watch {
 public:
  explicit Watch(const std::string& name) : name_(name) {}

  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    using Event = json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= kMaxJsonDepth) refuse(name_, "nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
      if (event == Event::object_start) keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (has_control_character(key)) refuse(name_, "a key holds a control character");
      if (!keys_.back().insert(key).second) refuse(name_, "the key \"" + key + "\" comes twice in one object");
    } else if (event == Event::value && parsed.is_string() &&
               has_control_character(parsed.get_ref<const std::string&>())) {
      refuse(name_, "a string holds a control character");
    }
    return true;
  }

 private:
  const std::string& name_;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

json parse_json(std::string_view text, const std::string& name) {
  if (text.size() > kMaxJsonBytes) {
    refuse(name, std::to_string(text.size()) + " bytes, at most " + std::to_string(kMaxJsonBytes) + " are read");
  }
  if (text.substr(0, 3) == "\xef\xbb\xbf") refuse(name, "begins with a byte order mark, expected plain UTF-8");
  // nlohmann-json takes a NUL for the end, and would not look at what follows
  if (text.find('\0') != std::string_view::npos) refuse(name, "holds a NUL byte, expected plain UTF-8");
  Watch watch(name);
  try {
    return json::parse(text.begin(), text.end(), [&watch](int depth, json::parse_event_t event, json& parsed) {
      return watch(depth, event, parsed);
    });
  } catch (const json::exception& error) {
    refuse(name, std::string("not JSON: ") + error.what());
  }
}

}  // namespace resnet_deploy
