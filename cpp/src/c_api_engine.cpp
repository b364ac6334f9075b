// rd_engine_*: opening a bundle.
#include <memory>
#include <string>
#include <vector>

#include "c_handles.h"
#include "c_struct.h"
#include "engine/backend_module.h"
#include "guard.h"
#include "resnet_deploy/c_api.h"

namespace resnet_deploy {

namespace {

rd_open_options default_open_options() {
  rd_open_options options{};
  options.struct_size = sizeof(options);
  return options;
}

std::vector<std::string> split_backends(const std::string& list) {
  std::vector<std::string> names;
  std::size_t begin = 0;
  while (begin <= list.size()) {
    const auto end = std::min(list.find(',', begin), list.size());
    auto name = list.substr(begin, end - begin);
    if (!is_backend_name(name)) {
      throw Error(RD_INVALID_ARGUMENT,
                  "backends is \"" + list + "\", expected names such as \"tensorrt_rtx,openvino\"");
    }
    names.push_back(std::move(name));
    begin = end + 1;
  }
  return names;
}

OpenOptions read_options(const rd_open_options* given) {
  const auto read = read_c_struct(given, default_open_options(), "rd_open_options");
  OpenOptions options;
  if (read.backends != nullptr) options.backends = split_backends(read.backends);
  options.module_folders = module_folders(read.backend_path != nullptr ? read.backend_path : "");
  if (read.public_key_pem != nullptr) {
    options.public_key_pem = read.public_key_pem;
    if (options.public_key_pem.empty()) {
      throw Error(RD_INVALID_ARGUMENT, "public_key_pem is empty, expected a key; give NULL not to ask for a signature");
    }
  }
  if (read.device < 0 || read.num_threads < 0) {
    throw Error(RD_INVALID_ARGUMENT, "device is " + std::to_string(read.device) + " and num_threads " +
                                         std::to_string(read.num_threads) + ", expected 0 or more");
  }
  options.device = read.device;
  options.num_threads = read.num_threads;
  options.skip_self_test = read.skip_self_test != 0;
  options.log = Log(read.log, read.log_user);
  return options;
}

}  // namespace

}  // namespace resnet_deploy

using namespace resnet_deploy;

extern "C" {

void rd_open_options_init(rd_open_options* options) {
  if (options != nullptr) *options = default_open_options();
}

rd_status rd_engine_open(const char* bundle, const rd_open_options* options, rd_engine** out) {
  return guarded([&] {
    require(out, "out");
    *out = nullptr;
    require(bundle, "bundle");
    *out = new rd_engine{std::make_shared<const Engine>(bundle, read_options(options))};
  });
}

void rd_engine_close(rd_engine* engine) { delete engine; }

rd_status rd_engine_get_info(const rd_engine* engine, rd_engine_info* info) {
  return guarded([&] {
    require(engine, "engine");
    write_c_struct(engine->engine->info(), info, "rd_engine_info");
  });
}

const char* rd_engine_label(const rd_engine* engine, int32_t index) {
  if (engine == nullptr || index < 0) return nullptr;
  const auto& labels = engine->engine->labels();
  const auto place = static_cast<std::size_t>(index);
  return place < labels.size() ? labels[place].c_str() : nullptr;
}

}  // extern "C"
