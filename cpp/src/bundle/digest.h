// SHA-256 of bytes.
#ifndef RESNET_DEPLOY_BUNDLE_DIGEST_H
#define RESNET_DEPLOY_BUNDLE_DIGEST_H

#include <string>
#include <string_view>

namespace resnet_deploy {

// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view bytes);

}  // namespace resnet_deploy

#endif
