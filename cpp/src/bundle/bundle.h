// A bundle on disk, checked: manifest, files, hashes, signature, engine headers.
#ifndef RESNET_DEPLOY_BUNDLE_BUNDLE_H
#define RESNET_DEPLOY_BUNDLE_BUNDLE_H

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.h"
#include "bundle/mapped_file.h"
#include "stage_clock.h"

namespace resnet_deploy {

class Bundle {
 public:
  // `public_key_pem` empty: a signature is not asked for, and not checked. Throws Error.
  Bundle(const std::string& folder, std::string_view public_key_pem, StageClock& clock);

  const Manifest& manifest() const noexcept { return manifest_; }
  const std::vector<std::string>& labels() const noexcept { return labels_; }
  bool is_signed() const noexcept { return is_signed_; }
  std::string_view file(const std::string& path) const { return files_.at(path).bytes(); }

 private:
  void check_files(const FileDescriptor& folder);

  Manifest manifest_;
  std::map<std::string, MappedFile> files_;
  std::vector<std::string> labels_;
  bool is_signed_ = false;
};

// A class a line; throws Error(RD_BAD_MANIFEST) where there are not `num_classes`.
std::vector<std::string> parse_labels(std::string_view text, std::int32_t num_classes);

}  // namespace resnet_deploy

#endif
