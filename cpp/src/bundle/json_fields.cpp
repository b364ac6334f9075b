#include "bundle/json_fields.h"

#include <algorithm>
#include <utility>

#include "error.h"

namespace resnet_deploy {

namespace {

using nlohmann::json;

// A value for a message; long ones are cut.
std::string shown(const json& value) {
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() > 80 ? text.substr(0, 80) + "..." : text;
}

bool is_integer_between(const json& value, std::int64_t low, std::int64_t high) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) return false;
  return value.get<std::int64_t>() >= low && value.get<std::int64_t>() <= high;
}

std::string range_text(const std::string& low, const std::string& high) { return "from " + low + " to " + high; }

std::string number_text(double number) { return json(number).dump(); }

}  // namespace

JsonFields::JsonFields(const json& object, std::string where) : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) throw Error(RD_BAD_MANIFEST, where_ + " is " + shown(object) + ", expected an object");
}

void JsonFields::refuse(const std::string& field, const std::string& got, const std::string& expected) const {
  throw Error(RD_BAD_MANIFEST, where_ + ": " + field + " is " + got + ", expected " + expected +
                                   "; make the bundle again with `resnet-deploy bundle`");
}

const json& JsonFields::value(const std::string& field) {
  const auto found = object_->find(field);
  if (found == object_->end()) refuse(field, "missing", "a value");
  read_.insert(field);
  return *found;
}

const json& JsonFields::array(const std::string& field, std::size_t min_items, std::size_t max_items) {
  const json& found = value(field);
  if (!found.is_array()) refuse(field, shown(found), "a list");
  if (found.size() < min_items || found.size() > max_items) {
    refuse(field, "a list of " + std::to_string(found.size()),
           range_text(std::to_string(min_items), std::to_string(max_items)));
  }
  return found;
}

std::string JsonFields::text(const std::string& field, std::size_t max_bytes) {
  const json& found = value(field);
  if (!found.is_string()) refuse(field, shown(found), "a text");
  auto text = found.get<std::string>();
  if (text.size() > max_bytes) {
    refuse(field, "a text of " + std::to_string(text.size()) + " bytes", "at most " + std::to_string(max_bytes));
  }
  return text;
}

std::string JsonFields::text_or_null(const std::string& field, std::size_t max_bytes) {
  return value(field).is_null() ? std::string() : text(field, max_bytes);
}

std::string JsonFields::one_of(const std::string& field, std::initializer_list<const char*> choices) {
  auto found = text(field);
  std::string expected;
  for (const char* choice : choices) {
    if (found == choice) return found;
    expected += (expected.empty() ? "\"" : ", \"") + std::string(choice) + "\"";
  }
  refuse(field, "\"" + found + "\"", expected);
}

std::int64_t JsonFields::integer(const std::string& field, std::int64_t low, std::int64_t high) {
  const json& found = value(field);
  const std::string expected = "an integer " + range_text(std::to_string(low), std::to_string(high));
  if (!is_integer_between(found, low, high)) refuse(field, shown(found), expected);
  return found.get<std::int64_t>();
}

double JsonFields::number(const std::string& field, double low, double high) {
  const json& found = value(field);
  const std::string expected = "a number " + range_text(number_text(low), number_text(high));
  if (!found.is_number()) refuse(field, shown(found), expected);
  const auto number = found.get<double>();
  if (!(number >= low && number <= high)) refuse(field, shown(found), expected);
  return number;
}

bool JsonFields::boolean(const std::string& field) {
  const json& found = value(field);
  if (!found.is_boolean()) refuse(field, shown(found), "true or false");
  return found.get<bool>();
}

JsonFields JsonFields::object(const std::string& field) { return JsonFields(value(field), where_ + ": " + field); }

std::vector<JsonFields> JsonFields::objects(const std::string& field, std::size_t min_items, std::size_t max_items) {
  std::vector<JsonFields> list;
  for (const json& item : array(field, min_items, max_items)) {
    list.emplace_back(item, where_ + ": " + field + "[" + std::to_string(list.size()) + "]");
  }
  return list;
}

std::vector<double> JsonFields::numbers(const std::string& field, std::size_t max_items, double low, double high) {
  std::vector<double> list;
  for (const json& item : array(field, 0, max_items)) {
    const auto number = item.is_number() ? item.get<double>() : 0.0;
    if (!item.is_number() || !(number >= low && number <= high)) {
      refuse(field + "[" + std::to_string(list.size()) + "]", shown(item),
             "a number " + range_text(number_text(low), number_text(high)));
    }
    list.push_back(number);
  }
  return list;
}

std::vector<std::int64_t> JsonFields::integers(const std::string& field, std::size_t max_items, std::int64_t low,
                                               std::int64_t high) {
  std::vector<std::int64_t> list;
  for (const json& item : array(field, 0, max_items)) {
    if (!is_integer_between(item, low, high)) {
      refuse(field + "[" + std::to_string(list.size()) + "]", shown(item),
             "an integer " + range_text(std::to_string(low), std::to_string(high)));
    }
    list.push_back(item.get<std::int64_t>());
  }
  return list;
}

std::vector<std::string> JsonFields::texts(const std::string& field, std::size_t max_items, std::size_t max_bytes) {
  std::vector<std::string> list;
  for (const json& item : array(field, 0, max_items)) {
    if (!item.is_string() || item.get_ref<const std::string&>().size() > max_bytes) {
      refuse(field + "[" + std::to_string(list.size()) + "]", shown(item),
             "a text of at most " + std::to_string(max_bytes) + " bytes");
    }
    list.push_back(item.get<std::string>());
  }
  return list;
}

void JsonFields::check_texts(std::size_t max_items, std::size_t max_bytes) {
  if (object_->size() > max_items) {
    refuse("it", "an object of " + std::to_string(object_->size()), "at most " + std::to_string(max_items));
  }
  for (const auto& item : object_->items()) {
    if (item.key().empty() || item.key().size() > max_bytes) {
      refuse("a name", shown(item.key()), "1 to " + std::to_string(max_bytes) + " bytes");
    }
    text(item.key(), max_bytes);
  }
}

void JsonFields::done() const {
  for (const auto& item : object_->items()) {
    if (read_.count(item.key()) == 0) {
      throw Error(RD_BAD_MANIFEST,
                  where_ + ": unknown field " + shown(item.key()) +
                      "; it was made by a newer resnet-deploy: install that, or make the bundle again");
    }
  }
}

}  // namespace resnet_deploy
