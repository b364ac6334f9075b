#include "bundle/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "bundle/bundle_path.h"
#include "error.h"

namespace resnet_deploy {

namespace {

constexpr std::size_t kMaxEntries = 1024;

struct CloseFolder {
  void operator()(DIR* stream) const noexcept { ::closedir(stream); }
};

class Walk {
 public:
  explicit Walk(std::vector<std::string>& files) : files_(files) {}

  void visit(int parent, const std::string& name, const std::string& prefix, std::size_t depth) {
    if (depth > kMaxPathParts) refuse(prefix, "folders are nested deeper than " + std::to_string(kMaxPathParts));
    const int number = ::openat(parent, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
    if (number < 0) refuse(prefix, std::strerror(errno));
    const std::unique_ptr<DIR, CloseFolder> stream(::fdopendir(number));
    if (!stream) {
      ::close(number);
      refuse(prefix, std::strerror(errno));
    }
    std::size_t num_entries = 0;
    while (const dirent* entry = ::readdir(stream.get())) {
      const std::string entry_name = entry->d_name;
      if (entry_name == "." || entry_name == "..") continue;
      ++num_entries;
      visit_entry(number, entry_name, prefix.empty() ? entry_name : prefix + "/" + entry_name, depth);
    }
    if (num_entries == 0 && depth > 0)
      refuse(prefix, "an empty folder, expected only the files that bundle.json lists");
  }

 private:
  [[noreturn]] static void refuse(const std::string& path, const std::string& why) {
    throw Error(RD_DAMAGED, (path.empty() ? "the bundle's folder" : path) + ": " + why + "; copy the bundle again");
  }

  void visit_entry(int folder, const std::string& name, const std::string& path, std::size_t depth) {
    if (++num_seen_ > kMaxEntries) refuse(path, "more than " + std::to_string(kMaxEntries) + " entries in the bundle");
    struct stat status{};
    if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) refuse(path, std::strerror(errno));
    if (S_ISDIR(status.st_mode)) return visit(folder, name, path, depth + 1);
    if (S_ISLNK(status.st_mode)) refuse(path, "is a link, expected a plain file");
    if (!S_ISREG(status.st_mode)) refuse(path, "is a device, fifo or socket, expected a plain file");
    files_.push_back(path);
  }

  std::vector<std::string>& files_;
  std::size_t num_seen_ = 0;
};

}  // namespace

FileDescriptor open_folder(const std::string& path) {
  FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (folder.get() >= 0) return folder;
  const int error = errno;
  if (error == ENOTDIR) {
    throw Error(RD_NOT_FOUND, path + ": not a folder; unpack an archive with `resnet-deploy bundle unpack`");
  }
  throw Error(RD_NOT_FOUND, path + ": " + std::strerror(error) + "; expected the folder of a bundle");
}

std::vector<std::string> list_files(const FileDescriptor& folder) {
  std::vector<std::string> files;
  Walk(files).visit(folder.get(), ".", "", 0);
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace resnet_deploy
