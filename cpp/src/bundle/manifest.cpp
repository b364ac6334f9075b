#include "bundle/manifest.h"

#include <algorithm>
#include <cfloat>
#include <cstdio>
#include <ctime>
#include <iomanip>
#include <set>
#include <sstream>

#include "bundle/bundle_path.h"
#include "bundle/json_document.h"
#include "bundle/json_fields.h"
#include "error.h"

namespace resnet_deploy {

namespace {

constexpr std::size_t kMaxModels = 64;
constexpr std::size_t kMaxFiles = 256;
constexpr std::size_t kMaxMadeBy = 64;
constexpr std::int64_t kMaxFileBytes = (std::int64_t{1} << 40) - 1;
constexpr std::int64_t kMaxBatch = 65536;

std::string read_path(JsonFields& fields, const std::string& field) {
  auto path = fields.text(field, kMaxPathBytes);
  const auto fault = path_fault(path);
  if (!fault.empty()) fields.refuse(field, "\"" + path + "\"", "a relative path inside the bundle (" + fault + ")");
  return path;
}

std::string read_sha256(JsonFields& fields, const std::string& field) {
  auto text = fields.text(field);
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (text.size() != 64 || !std::all_of(text.begin(), text.end(), is_hex)) {
    fields.refuse(field, "\"" + text + "\"", "64 lower-case hexadecimal digits");
  }
  return text;
}

std::string read_name(JsonFields& fields, const std::string& field) {
  auto text = fields.text(field);
  if (text.empty()) fields.refuse(field, "empty", "a name");
  return text;
}

// "", "Z" or an offset such as "+05:30".
bool is_offset(const std::string& text) {
  if (text.empty() || text == "Z") return true;
  std::istringstream stream(text.substr(1));
  std::tm offset{};
  stream >> std::get_time(&offset, "%H:%M");
  return text.size() == 6 && (text[0] == '+' || text[0] == '-') && !stream.fail() && stream.peek() == EOF;
}

// A time in ISO 8601 as the bundle's maker writes it: 2026-01-31T23:59:59, a fraction and an offset (or Z) as wanted.
void read_time(JsonFields& fields, const std::string& field) {
  constexpr std::size_t kLength = 19;
  const auto text = fields.text(field, 64);
  std::istringstream stream(text.substr(0, kLength));
  std::tm time{};
  stream >> std::get_time(&time, "%Y-%m-%dT%H:%M:%S");
  auto rest = text.size() < kLength ? std::string("?") : text.substr(kLength);
  if (!rest.empty() && rest[0] == '.')
    rest = rest.substr(std::min(rest.find_first_not_of("0123456789", 1), rest.size()));
  if (stream.fail() || stream.peek() != EOF || !is_offset(rest)) {
    fields.refuse(field, "\"" + text + "\"", "a time in ISO 8601 such as \"2026-01-31T23:59:59+00:00\"");
  }
}

void read_net(JsonFields fields, Manifest& manifest) {
  manifest.net = read_name(fields, "name");
  manifest.output = fields.one_of("output", {"logits", "softmax", "features"});
  const bool has_classes = manifest.output != "features";
  manifest.num_classes =
      static_cast<std::int32_t>(fields.integer("num_classes", has_classes ? 1 : 0, has_classes ? kMaxClasses : 0));
  fields.done();
}

rd_preprocess_spec read_preprocess(JsonFields fields) {
  rd_preprocess_spec spec{};
  spec.struct_size = sizeof(spec);
  spec.version = static_cast<std::int32_t>(fields.integer("version", 1, 1));
  spec.height_px = static_cast<std::int32_t>(fields.integer("height_px", 1, kMaxSidePx));
  spec.width_px = static_cast<std::int32_t>(fields.integer("width_px", 1, kMaxSidePx));
  spec.resize_shorter_px = static_cast<std::int32_t>(fields.integer("resize_shorter_px", 0, kMaxSidePx));
  const auto mean = fields.numbers("mean", 3, -1e6, 1e6);
  const auto std = fields.numbers("std", 3, 1e-6, 1e6);
  if (mean.size() != 3) fields.refuse("mean", std::to_string(mean.size()) + " numbers", "3");
  if (std.size() != 3) fields.refuse("std", std::to_string(std.size()) + " numbers", "3");
  for (std::size_t c = 0; c < 3; ++c) {
    spec.mean[c] = static_cast<float>(mean[c]);
    spec.std[c] = static_cast<float>(std[c]);
  }
  fields.done();
  return spec;
}

// "8.6" -> 86.
std::int32_t capability(JsonFields& fields, const std::string& text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto dot = text.find('.');
  const bool is_valid = dot != std::string::npos && dot >= 1 && dot <= 2 && text.size() == dot + 2 &&
                        std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(dot), is_digit) &&
                        is_digit(text.back());
  if (!is_valid) fields.refuse("compute_capabilities", "\"" + text + "\"", "texts such as \"8.6\"");
  return std::stoi(text.substr(0, dot)) * 10 + (text.back() - '0');
}

// Three or four numbers of at most nine digits.
std::string read_version(JsonFields& fields, const std::string& field) {
  auto text = fields.text(field);
  std::size_t num_digits = 0;
  int num_numbers = 1;
  bool is_valid = true;
  for (const char c : text) {
    if (c >= '0' && c <= '9') {
      is_valid = is_valid && ++num_digits <= 9;
    } else {
      is_valid = is_valid && c == '.' && num_digits > 0;
      num_digits = 0;
      ++num_numbers;
    }
  }
  if (!is_valid || num_digits == 0 || num_numbers < 3 || num_numbers > 4) {
    fields.refuse(field, "\"" + text + "\"", "a version such as \"1.7.1.116\"");
  }
  return text;
}

std::string list_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const auto side : shape) text += (text.empty() ? "[" : ", ") + std::to_string(side);
  return text.empty() ? "[]" : text + "]";
}

// The batch is free, or 1.
bool is_batch(std::int64_t size) { return size == -1 || size == 1; }

void read_input(JsonFields fields, const rd_preprocess_spec& spec, BundleModel& model) {
  model.input_name = read_name(fields, "name");
  model.takes_pixels = fields.one_of("dtype", {"float32", "uint8"}) == "uint8";
  const auto shape = fields.integers("shape", 4, -1, kMaxSidePx);
  std::vector<std::int64_t> expected{-1, 3, spec.height_px, spec.width_px};
  if (model.takes_pixels) expected = {-1, -1, -1, 3};
  if (!shape.empty() && is_batch(shape[0])) expected[0] = shape[0];
  if (shape != expected) fields.refuse("shape", list_text(shape), list_text(expected));
  model.has_fixed_batch = shape[0] == 1;
  if (model.has_fixed_batch) model.max_batch = 1;
  fields.done();
}

void read_output(JsonFields fields, const Manifest& manifest, BundleModel& model) {
  model.output_name = read_name(fields, "name");
  fields.one_of("dtype", {"float32"});
  const auto shape = fields.integers("shape", 2, -1, kMaxClasses);
  const std::int64_t batch = model.has_fixed_batch ? 1 : -1;
  if (shape.size() != 2 || shape[0] != batch || shape[1] < 1) {
    fields.refuse("shape", list_text(shape),
                  "[" + std::to_string(batch) + ", number of outputs], as the input's batch");
  }
  model.output_size = static_cast<std::int32_t>(shape[1]);
  if (manifest.output != "features" && model.output_size != manifest.num_classes) {
    fields.refuse("shape", list_text(shape), "[-1, " + std::to_string(manifest.num_classes) + "], as net.num_classes");
  }
  fields.done();
}

SelfTest read_self_test(JsonFields fields, std::int32_t output_size) {
  SelfTest test;
  const auto expected = fields.numbers("expected", kMaxClasses, -FLT_MAX, FLT_MAX);
  if (expected.size() != static_cast<std::size_t>(output_size)) {
    fields.refuse("expected", std::to_string(expected.size()) + " numbers",
                  std::to_string(output_size) + ", as the output has");
  }
  std::transform(expected.begin(), expected.end(), std::back_inserter(test.expected),
                 [](double value) { return static_cast<float>(value); });
  test.max_abs_error = fields.number("max_abs_error", DBL_MIN, FLT_MAX);
  test.measured_on = read_name(fields, "measured_on");
  fields.done();
  return test;
}

BundleModel read_model(JsonFields fields, const Manifest& manifest) {
  BundleModel model;
  model.path = read_path(fields, "path");
  model.format = fields.one_of("format", {"onnx", "engine"});
  model.product = model.format == "engine" ? fields.one_of("product", {"tensorrt", "tensorrt-rtx"})
                                           : fields.one_of("product", {""});
  model.version = model.format == "engine" ? read_version(fields, "version") : fields.one_of("version", {""});
  model.precision = fields.one_of("precision", {"fp32", "fp16", "bf16", "int8", "fp8"});
  for (const auto& text : fields.texts("compute_capabilities", 64, 8)) {
    model.compute_capabilities.push_back(capability(fields, text));
  }
  model.hardware_compatible = fields.boolean("hardware_compatible");
  model.max_batch = static_cast<std::int32_t>(fields.integer("max_batch", 0, kMaxBatch));
  read_input(fields.object("input"), manifest.preprocess, model);
  read_output(fields.object("output"), manifest, model);
  model.self_test = read_self_test(fields.object("self_test"), model.output_size);
  fields.done();
  return model;
}

std::string lower_case(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

void read_files(JsonFields& fields, Manifest& manifest) {
  std::set<std::string> seen;  // in lower case: the bundle must also unpack where case does not count
  for (auto& item : fields.objects("files", 1, kMaxFiles)) {
    BundleFile file;
    file.path = read_path(item, "path");
    file.sha256 = read_sha256(item, "sha256");
    file.size_bytes = static_cast<std::uint64_t>(item.integer("size_bytes", 0, kMaxFileBytes));
    const auto key = lower_case(file.path);
    if (key == "bundle.json" || key == "bundle.sig") {
      item.refuse("path", "\"" + file.path + "\"", "a file that can be hashed before the manifest is written");
    }
    if (!seen.insert(key).second) item.refuse("path", "\"" + file.path + "\" a second time", "each file once");
    item.done();
    manifest.files.push_back(std::move(file));
  }
}

// What the manifest names must be among its files.
void check_listed(const JsonFields& fields, const std::string& field, const std::string& path,
                  const Manifest& manifest) {
  const bool is_listed = std::any_of(manifest.files.begin(), manifest.files.end(),
                                     [&path](const BundleFile& file) { return file.path == path; });
  if (!is_listed) fields.refuse(field, "\"" + path + "\"", "a path that `files` lists");
}

}  // namespace

Manifest parse_manifest(std::string_view text) {
  const auto document = parse_json(text, "bundle.json");
  JsonFields fields(document, "bundle.json");
  const auto schema = fields.text("schema");
  if (schema != kSchema) {
    throw Error(RD_BAD_MANIFEST, "bundle.json: schema is \"" + schema + "\", this library reads \"" + kSchema +
                                     "\"; install the library that goes with the resnet-deploy that made the bundle");
  }
  Manifest manifest;
  manifest.name = read_name(fields, "name");
  if (manifest.name.find('/') != std::string::npos || !path_fault(manifest.name).empty()) {
    fields.refuse("name", "\"" + manifest.name + "\"", "one part of a path, of A-Z a-z 0-9 . _ -");
  }
  manifest.version = read_name(fields, "version");
  read_time(fields, "created");
  fields.object("made_by").check_texts(kMaxMadeBy, 800);
  read_net(fields.object("net"), manifest);
  manifest.preprocess = read_preprocess(fields.object("preprocess"));
  read_files(fields, manifest);
  manifest.labels = fields.text_or_null("labels");
  if (!manifest.labels.empty()) {
    check_listed(fields, "labels", manifest.labels, manifest);
    if (manifest.output == "features")
      fields.refuse("labels", "\"" + manifest.labels + "\"", "null, as features have none");
  }
  auto golden = fields.object("golden");
  manifest.golden_image = read_path(golden, "image");
  check_listed(golden, "image", manifest.golden_image, manifest);
  manifest.golden_pixels_sha256 = read_sha256(golden, "pixels_sha256");
  golden.done();
  manifest.licences = read_path(fields, "licences");
  check_listed(fields, "licences", manifest.licences, manifest);
  std::set<std::string> seen;
  for (auto& item : fields.objects("models", 1, kMaxModels)) {
    auto model = read_model(item, manifest);
    check_listed(item, "path", model.path, manifest);
    if (!seen.insert(model.path).second) item.refuse("path", "\"" + model.path + "\" a second time", "each model once");
    manifest.models.push_back(std::move(model));
  }
  fields.done();
  return manifest;
}

}  // namespace resnet_deploy
