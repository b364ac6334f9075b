// A runtime's library, loaded when a model is opened, so that a module starts on machines that have none.
#ifndef RESNET_DEPLOY_BACKENDS_SHARED_LIBRARY_H
#define RESNET_DEPLOY_BACKENDS_SHARED_LIBRARY_H

#include <string>
#include <vector>

namespace resnet_deploy::backend {

struct LibrarySearch {
  std::string title;               // "ONNX Runtime", for messages
  std::string variable;            // of the environment: a file, or a folder; where it is set, nothing else is tried
  std::vector<std::string> names;  // for the loader, the best first; in a folder also followed by a version
};

class SharedLibrary {
 public:
  // Throws RD_NO_BACKEND, with what was tried and what the loader said to each.
  explicit SharedLibrary(const LibrarySearch& search);

  const std::string& file() const noexcept { return file_; }

  // Throws RD_NO_BACKEND where the library has no such symbol.
  template <typename Function>
  Function function(const char* name) const {
    return reinterpret_cast<Function>(symbol(name));
  }

 private:
  void* symbol(const char* name) const;

  std::string title_;
  std::string file_;
  void* handle_;  // never closed: these libraries have threads and registries of their own
};

}  // namespace resnet_deploy::backend
#endif
