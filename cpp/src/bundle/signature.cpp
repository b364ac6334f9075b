#include "bundle/signature.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <climits>
#include <memory>
#include <string>

#include "error.h"

namespace resnet_deploy {

namespace {

struct FreeOpenssl {
  void operator()(BIO* bio) const noexcept { BIO_free(bio); }
  void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
  void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
};
using KeyPointer = std::unique_ptr<EVP_PKEY, FreeOpenssl>;

KeyPointer read_key(std::string_view pem) {
  std::unique_ptr<BIO, FreeOpenssl> bio;
  if (pem.size() <= INT_MAX) bio.reset(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  KeyPointer key(bio ? PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  const int kind = key ? EVP_PKEY_get_base_id(key.get()) : 0;
  ERR_clear_error();
  if (!key || kind != EVP_PKEY_ED25519) {
    throw Error(RD_INVALID_ARGUMENT,
                std::string("public_key_pem is ") + (key ? "a key of another kind" : "no public key in PEM") +
                    ", expected an Ed25519 public key (\"-----BEGIN PUBLIC KEY-----\"); give the .pub file of "
                    "`resnet-deploy bundle keygen`");
  }
  return key;
}

}  // namespace

void check_signature_size(std::size_t num_bytes) {
  if (num_bytes == kSignatureBytes) return;
  throw Error(RD_BAD_SIGNATURE, "bundle.sig has " + std::to_string(num_bytes) +
                                    " bytes, an Ed25519 signature has 64; sign the bundle again");
}

void check_signature(std::string_view message, std::string_view signature, std::string_view public_key_pem) {
  const auto key = read_key(public_key_pem);
  check_signature_size(signature.size());
  const std::unique_ptr<EVP_MD_CTX, FreeOpenssl> context(EVP_MD_CTX_new());
  const auto* data = reinterpret_cast<const unsigned char*>(message.data());
  const bool is_good = context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
                       EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()),
                                        signature.size(), data, message.size()) == 1;
  ERR_clear_error();
  if (!is_good) {
    throw Error(
        RD_BAD_SIGNATURE,
        "bundle.sig is not a signature of this bundle.json by the given key; the bundle was changed, or another key "
        "signed it: get it again from its maker, or give the maker's public key");
  }
}

}  // namespace resnet_deploy
