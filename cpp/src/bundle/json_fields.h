// Reads the fields of one JSON object by name and type; what was not read in the end is unknown, and refused.
#ifndef RESNET_DEPLOY_BUNDLE_JSON_FIELDS_H
#define RESNET_DEPLOY_BUNDLE_JSON_FIELDS_H

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace resnet_deploy {

constexpr std::size_t kMaxTextBytes = 4000;

// Every function throws Error(RD_BAD_MANIFEST) that names the field, what it holds and what it may hold.
class JsonFields {
 public:
  // `where` is the object's place, e.g. "bundle.json: models[0]"; `object` must outlive this.
  JsonFields(const nlohmann::json& object, std::string where);

  std::string text(const std::string& field, std::size_t max_bytes = kMaxTextBytes);
  std::string text_or_null(const std::string& field, std::size_t max_bytes = kMaxTextBytes);  // "" for null
  std::string one_of(const std::string& field, std::initializer_list<const char*> choices);
  std::int64_t integer(const std::string& field, std::int64_t low, std::int64_t high);
  double number(const std::string& field, double low, double high);
  bool boolean(const std::string& field);
  JsonFields object(const std::string& field);
  std::vector<JsonFields> objects(const std::string& field, std::size_t min_items, std::size_t max_items);
  std::vector<double> numbers(const std::string& field, std::size_t max_items, double low, double high);
  std::vector<std::int64_t> integers(const std::string& field, std::size_t max_items, std::int64_t low,
                                     std::int64_t high);
  std::vector<std::string> texts(const std::string& field, std::size_t max_items, std::size_t max_bytes);
  // For an object whose names are free: each field is a text.
  void check_texts(std::size_t max_items, std::size_t max_bytes);
  // Refuses what no call above has read.
  void done() const;
  [[noreturn]] void refuse(const std::string& field, const std::string& got, const std::string& expected) const;

 private:
  const nlohmann::json& value(const std::string& field);
  const nlohmann::json& array(const std::string& field, std::size_t min_items, std::size_t max_items);

  const nlohmann::json* object_;
  std::string where_;
  std::set<std::string> read_;
};

}  // namespace resnet_deploy

#endif
