#include <doctest/doctest.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <memory>
#include <string>

#include "bundle/bundle.h"
#include "bundle/signature.h"
#include "bundle_writer.h"
#include "refusal.h"
#include "temporary_folder.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;

namespace {

// A key made for the test.
class Key {
 public:
  explicit Key(const char* kind = "ED25519") : key_(EVP_PKEY_Q_keygen(nullptr, nullptr, kind), &EVP_PKEY_free) {}

  std::string public_pem() const {
    const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), &BIO_free);
    PEM_write_bio_PUBKEY(bio.get(), key_.get());
    char* text = nullptr;
    const auto size = BIO_get_mem_data(bio.get(), &text);
    return std::string(text, static_cast<std::size_t>(size));
  }

  std::string sign(const std::string& message) const {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
    EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get());
    std::string signature(64, '\0');
    std::size_t size = signature.size();
    EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                   reinterpret_cast<const unsigned char*>(message.data()), message.size());
    return signature;
  }

 private:
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key_;
};

std::string open_refusal(rd_status status, const std::string& folder, const std::string& key) {
  const Log silent;
  StageClock clock(silent);
  return refusal(status, [&] { Bundle(folder, key, clock); });
}

}  // namespace

TEST_CASE("the signature of RFC 8032, test 3, is good, and a changed one is not") {
  const std::string public_pem =
      "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU=\n-----END PUBLIC "
      "KEY-----\n";
  const unsigned char raw[] = {0x62, 0x91, 0xd6, 0x57, 0xde, 0xec, 0x24, 0x02, 0x48, 0x27, 0xe6, 0x9c, 0x3a,
                               0xbe, 0x01, 0xa3, 0x0c, 0xe5, 0x48, 0xa2, 0x84, 0x74, 0x3a, 0x44, 0x5e, 0x36,
                               0x80, 0xd7, 0xdb, 0x5a, 0xc3, 0xac, 0x18, 0xff, 0x9b, 0x53, 0x8d, 0x16, 0xf2,
                               0x90, 0xae, 0x67, 0xf7, 0x60, 0x98, 0x4d, 0xc6, 0x59, 0x4a, 0x7c, 0x15, 0xe9,
                               0x71, 0x6e, 0xd2, 0x8d, 0xc0, 0x27, 0xbe, 0xce, 0xea, 0x1e, 0xc4, 0x0a};
  std::string signature(reinterpret_cast<const char*>(raw), sizeof(raw));
  check_signature("\xaf\x82", signature, public_pem);
  signature[10] = static_cast<char>(signature[10] ^ 1);
  refusal(RD_BAD_SIGNATURE, [&] { check_signature("\xaf\x82", signature, public_pem); });
}

TEST_CASE("a bundle signed by the key opens and says so") {
  const TemporaryFolder folder;
  const Key key;
  BundleWriter writer;
  writer.signature = key.sign(writer.manifest_text());
  const Log silent;
  StageClock clock(silent);
  CHECK(Bundle(writer.write(folder.path()), key.public_pem(), clock).is_signed());
  CHECK(!Bundle(folder.path().string(), "", clock).is_signed());  // not asked for: not checked, and not claimed
}

TEST_CASE("unsigned, wrongly signed and cut signatures are refused") {
  const TemporaryFolder folder;
  const Key key;
  BundleWriter writer;
  const auto unsigned_message = open_refusal(RD_BAD_SIGNATURE, writer.write(folder.path() / "0"), key.public_pem());
  CHECK(unsigned_message.find("has no bundle.sig") != std::string::npos);
  writer.signature = Key().sign(writer.manifest_text());
  const auto other = open_refusal(RD_BAD_SIGNATURE, writer.write(folder.path() / "1"), key.public_pem());
  CHECK(other.find("another key") != std::string::npos);
  writer.signature = key.sign(writer.manifest_text()).substr(0, 63);
  CHECK(open_refusal(RD_BAD_SIGNATURE, writer.write(folder.path() / "2"), key.public_pem()).find("63 bytes") !=
        std::string::npos);
  writer.signature = key.sign(writer.manifest_text());
  writer.manifest["version"] = "2";  // after signing
  open_refusal(RD_BAD_SIGNATURE, writer.write(folder.path() / "3"), key.public_pem());
}

TEST_CASE("a key that is none is the caller's fault") {
  const std::string signature(64, 'x');
  for (const std::string& pem :
       {std::string("nonsense"), std::string("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        Key("X25519").public_pem()}) {
    refusal(RD_INVALID_ARGUMENT, [&] { check_signature("m", signature, pem); });
  }
}
