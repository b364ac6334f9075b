// bundle.sig: an Ed25519 signature over the bytes of bundle.json.
#ifndef RESNET_DEPLOY_BUNDLE_SIGNATURE_H
#define RESNET_DEPLOY_BUNDLE_SIGNATURE_H

#include <string_view>

namespace resnet_deploy {

constexpr std::size_t kSignatureBytes = 64;

// Throws Error(RD_BAD_SIGNATURE): no signature has that size. Asked of every bundle.sig, also where no key is given.
void check_signature_size(std::size_t num_bytes);

// Throws Error(RD_INVALID_ARGUMENT) where the key is no Ed25519 public key in PEM, Error(RD_BAD_SIGNATURE) where
// `signature` over `message` is not by this key.
void check_signature(std::string_view message, std::string_view signature, std::string_view public_key_pem);

}  // namespace resnet_deploy

#endif
