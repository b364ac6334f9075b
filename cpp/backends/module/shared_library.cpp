#include "shared_library.h"

#include <dlfcn.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>

#include "failure.h"

namespace resnet_deploy::backend {
namespace {

namespace fs = std::filesystem;

// The files of a folder that carry one of the names, exactly or followed by "." and a version.
std::vector<std::string> files_of_folder(const fs::path& folder, const std::vector<std::string>& names) {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const std::string& name : names) {
    if (fs::exists(folder / name, ignored)) found.push_back((folder / name).string());
  }
  std::vector<std::string> versioned;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string file = entry.path().filename().string();
    const bool fits = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return file.size() > name.size() && file.compare(0, name.size() + 1, name + ".") == 0;
    });
    if (fits) versioned.push_back(entry.path().string());
  }
  std::sort(versioned.rbegin(), versioned.rend());  // a folder's listing has no order
  found.insert(found.end(), versioned.begin(), versioned.end());
  return found;
}

std::vector<std::string> candidates(const LibrarySearch& search) {
  // secure_getenv: a program with raised rights does not load code that its caller names
  const char* given = secure_getenv(search.variable.c_str());
  if (given == nullptr || *given == '\0') return search.names;
  std::error_code ignored;
  if (!fs::is_directory(given, ignored)) return {given};
  std::vector<std::string> found = files_of_folder(given, search.names);
  if (found.empty()) {
    throw Failure(RD_NO_BACKEND, search.title + ": " + search.variable + " is the folder " + given + ", which has no " +
                                     search.names.front() + "; set it to the library's file or folder");
  }
  return found;
}

}  // namespace

SharedLibrary::SharedLibrary(const LibrarySearch& search) : title_(search.title), handle_(nullptr) {
  std::string reasons;
  for (const std::string& name : candidates(search)) {
    handle_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle_ != nullptr) {
      file_ = name;
      return;
    }
    const char* reason = dlerror();
    reasons += (reasons.empty() ? "" : "; ") + std::string(reason == nullptr ? name : reason);
  }
  throw Failure(RD_NO_BACKEND, search.title + " did not load: " + reasons + "; install it, or set " + search.variable +
                                   " to its library's file or folder");
}

void* SharedLibrary::symbol(const char* name) const {
  void* found = dlsym(handle_, name);
  if (found == nullptr) throw Failure(RD_NO_BACKEND, file_ + " is no library of " + title_ + ": it has no " + name);
  return found;
}

}  // namespace resnet_deploy::backend
