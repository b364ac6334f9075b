#include "bundle/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "bundle/bundle_path.h"
#include "error.h"

namespace resnet_deploy {

namespace {

[[noreturn]] void refuse_open(const std::string& path, int error) {
  const std::string text = std::strerror(error);
  if (error == ENOENT) throw Error(RD_NOT_FOUND, path + ": not there; copy the bundle again");
  if (error == ELOOP)
    throw Error(RD_DAMAGED, path + ": is a link, expected a plain file; copy the bundle with its files");
  if (error == ENOTDIR)
    throw Error(RD_DAMAGED, path + ": a part of it is no folder (or a link); copy the bundle again");
  throw Error(RD_NOT_FOUND, path + ": can not be opened: " + text + "; check its permissions");
}

}  // namespace

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (number_ >= 0) ::close(number_);
}

FileDescriptor open_below(const FileDescriptor& folder, const std::string& path) {
  const auto parts = path_parts(path);
  FileDescriptor holder;
  int parent = folder.get();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    // O_NONBLOCK: opening a fifo does not wait for its writer.
    const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (i + 1 < parts.size() ? O_DIRECTORY : 0);
    FileDescriptor next(::openat(parent, parts[i].c_str(), flags));
    if (next.get() < 0) refuse_open(path, errno);
    holder = std::move(next);
    parent = holder.get();
  }
  return holder;
}

MappedFile::MappedFile(const FileDescriptor& folder, const std::string& path) {
  const auto file = open_below(folder, path);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) throw Error(RD_NOT_FOUND, path + ": " + std::strerror(errno));
  if (!S_ISREG(status.st_mode)) throw Error(RD_DAMAGED, path + ": not a plain file; copy the bundle again");
  if (status.st_size == 0) return;
  size_ = static_cast<std::size_t>(status.st_size);
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) {
    throw Error(RD_OUT_OF_MEMORY,
                path + ": " + std::to_string(size_) + " bytes can not be mapped: " + std::strerror(errno));
  }
  address_ = address;
  ::madvise(address_, size_, MADV_SEQUENTIAL);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (address_ != nullptr) ::munmap(address_, size_);
}

}  // namespace resnet_deploy
