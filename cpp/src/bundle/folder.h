// Which files a bundle's folder holds.
#ifndef RESNET_DEPLOY_BUNDLE_FOLDER_H
#define RESNET_DEPLOY_BUNDLE_FOLDER_H

#include <string>
#include <vector>

#include "bundle/mapped_file.h"

namespace resnet_deploy {

// Throws Error(RD_NOT_FOUND): missing or no folder.
FileDescriptor open_folder(const std::string& path);

// All plain files below, sorted, with '/' between parts. Throws Error(RD_DAMAGED): a link, device, fifo or socket, more
// files or deeper folders than a bundle may have, or an empty folder.
std::vector<std::string> list_files(const FileDescriptor& folder);

}  // namespace resnet_deploy

#endif
