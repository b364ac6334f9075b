// A file of a bundle, mapped for reading: what is hashed is what the runtime is given.
#ifndef RESNET_DEPLOY_BUNDLE_MAPPED_FILE_H
#define RESNET_DEPLOY_BUNDLE_MAPPED_FILE_H

#include <cstddef>
#include <string>
#include <string_view>

namespace resnet_deploy {

// A file descriptor that closes itself.
class FileDescriptor {
 public:
  explicit FileDescriptor(int number = -1) noexcept : number_(number) {}
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor();

  int get() const noexcept { return number_; }

 private:
  int number_;
};

// Opens `path` (see path_fault) below the folder, one part after the other, following no link: a folder that is
// exchanged meanwhile can not lead outside. Throws Error(RD_NOT_FOUND or RD_DAMAGED).
FileDescriptor open_below(const FileDescriptor& folder, const std::string& path);

// Lives until destroyed. A file that is cut while it is mapped ends the process (SIGBUS), as with every mapping:
// replace bundles by renaming, do not write into them.
class MappedFile {
 public:
  MappedFile(const FileDescriptor& folder, const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::string_view bytes() const noexcept { return {static_cast<const char*>(address_), size_}; }

 private:
  void* address_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace resnet_deploy

#endif
