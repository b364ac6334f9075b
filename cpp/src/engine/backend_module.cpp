#include "engine/backend_module.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "error.h"

namespace resnet_deploy {

namespace {

namespace fs = std::filesystem;

void add_folder(std::vector<std::string>& folders, std::string folder) {
  if (std::find(folders.begin(), folders.end(), folder) == folders.end()) folders.push_back(std::move(folder));
}

void add_folders(std::vector<std::string>& folders, const std::string& list) {
  std::size_t begin = 0;
  while (begin <= list.size()) {
    const auto end = std::min(list.find(':', begin), list.size());
    if (end > begin) add_folder(folders, list.substr(begin, end - begin));
    begin = end + 1;
  }
}

// The folder that this library, or the program it is linked into, was loaded from.
fs::path own_folder() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&is_backend_name), &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code failed;
  const auto path = fs::canonical(info.dli_fname, failed);
  return failed ? fs::path() : path.parent_path();
}

[[noreturn]] void refuse(const std::string& why, const std::string& remedy) {
  throw Error(RD_NO_BACKEND, why + "; " + remedy);
}

const rd_backend& load_file(const std::string& name, const std::string& file) {
  void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = ::dlerror();
    refuse(file + " does not load: " + (reason != nullptr ? reason : "no reason given"),
           "install the runtime that it is linked with, or add its folder to LD_LIBRARY_PATH");
  }
  const auto entry = reinterpret_cast<rd_backend_entry_fn>(::dlsym(library, RD_BACKEND_ENTRY));
  if (entry == nullptr) refuse(file + " has no symbol " RD_BACKEND_ENTRY, "give the folder of a resnet-deploy module");
  const rd_backend* backend = entry(RD_BACKEND_ABI);
  if (backend == nullptr || backend->abi != RD_BACKEND_ABI || backend->struct_size < sizeof(rd_backend)) {
    const auto got = backend == nullptr ? std::string("another") : std::to_string(backend->abi);
    refuse(file + " serves backend ABI " + got + ", this library expects " + std::to_string(RD_BACKEND_ABI),
           "install module and library from the same release");
  }
  if (name != backend->name) {
    refuse(file + " calls itself \"" + backend->name + "\"", "do not rename modules");
  }
  return *backend;
}

}  // namespace

std::vector<std::string> module_folders(const std::string& given) {
  std::vector<std::string> folders;
  if (!given.empty()) {
    add_folders(folders, given);
    return folders;
  }
  const auto own = own_folder();
  if (!own.empty()) {
    add_folder(folders, own.string());
    add_folder(folders, (own / "resnet_deploy").string());
    add_folder(folders, (own.parent_path() / "lib" / "resnet_deploy").string());
  }
  if (const char* path = std::getenv("RESNET_DEPLOY_BACKEND_PATH")) add_folders(folders, path);
  return folders;
}

bool is_backend_name(const std::string& name) {
  return !name.empty() && name.size() <= 32 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

const rd_backend& load_backend(const std::string& name, const std::vector<std::string>& folders) {
  const auto file_name = "libresnet_deploy_" + name + ".so";
  std::string looked;
  for (const auto& folder : folders) {
    const auto file = (fs::path(folder) / file_name).string();
    std::error_code failed;
    if (fs::is_regular_file(file, failed)) return load_file(name, file);
    looked += (looked.empty() ? "" : ", ") + folder;
  }
  refuse("no " + file_name + " in " + (looked.empty() ? "no folder" : looked),
         "build or install that module, or give its folder in backend_path or RESNET_DEPLOY_BACKEND_PATH");
}

}  // namespace resnet_deploy
