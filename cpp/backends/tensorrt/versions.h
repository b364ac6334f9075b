// Which header, library and engine of an NVIDIA product go together. Nothing of NVIDIA is needed for the answer.
#ifndef RESNET_DEPLOY_BACKENDS_TENSORRT_VERSIONS_H
#define RESNET_DEPLOY_BACKENDS_TENSORRT_VERSIONS_H

#include <string>

namespace resnet_deploy::backend {

struct Version {
  int major;
  int minor;
  int patch;
  int build;
};

std::string text_of(const Version& version);  // "1.7.1.116"

enum class Product { kTensorRt, kTensorRtRtx };

// Whether a module that was compiled against `header` may call `library` through its tables of virtual functions, which
// the libraries themselves do not check. Throws RD_VERSION_MISMATCH.
void check_header(Product product, const Version& header, const Version& library, const std::string& file);

// Whether `library` may deserialise an engine that `built` made: the very same release only. Throws
// RD_VERSION_MISMATCH, or RD_BAD_MANIFEST where `built` is no version.
void check_engine(Product product, const std::string& engine, const std::string& built, const Version& library,
                  const std::string& file);

const char* title_of(Product product);     // "TensorRT-RTX"
const char* variable_of(Product product);  // "RESNET_DEPLOY_TENSORRT_RTX"

}  // namespace resnet_deploy::backend
#endif
