// A folder that is gone when the test is.
#ifndef RESNET_DEPLOY_TESTS_TEMPORARY_FOLDER_H
#define RESNET_DEPLOY_TESTS_TEMPORARY_FOLDER_H

#include <filesystem>

namespace resnet_deploy::test {

class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace resnet_deploy::test

#endif
