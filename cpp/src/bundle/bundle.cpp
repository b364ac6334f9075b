#include "bundle/bundle.h"

#include <algorithm>
#include <utility>

#include "bundle/digest.h"
#include "bundle/engine_header.h"
#include "bundle/folder.h"
#include "bundle/json_document.h"
#include "bundle/signature.h"
#include "error.h"
#include "printable.h"

namespace resnet_deploy {

namespace {

constexpr const char* kManifestFile = "bundle.json";
constexpr const char* kSignatureFile = "bundle.sig";

// Read once, into memory: what is parsed is what the signature is checked over.
std::string read_manifest_text(const FileDescriptor& folder, const std::string& path) {
  try {
    const MappedFile file(folder, kManifestFile);
    if (file.bytes().size() > kMaxJsonBytes) {
      throw Error(RD_BAD_MANIFEST, "bundle.json: " + std::to_string(file.bytes().size()) + " bytes, at most " +
                                       std::to_string(kMaxJsonBytes) + " are read; make the bundle again");
    }
    return std::string(file.bytes());
  } catch (const Error& error) {
    if (error.status() != RD_NOT_FOUND) throw;
    throw Error(RD_NOT_FOUND, path + ": " + error.what() + ", or make one with `resnet-deploy bundle`");
  }
}

void check_names(const Manifest& manifest, const std::vector<std::string>& found) {
  std::vector<std::string> listed{kManifestFile};
  for (const auto& file : manifest.files) listed.push_back(file.path);
  for (const auto& path : found) {
    if (path == kSignatureFile) continue;
    if (std::find(listed.begin(), listed.end(), path) == listed.end()) {
      throw Error(RD_DAMAGED,
                  path + ": in the bundle's folder but not in bundle.json; remove it, or copy the bundle again");
    }
  }
  for (const auto& path : listed) {
    if (!std::binary_search(found.begin(), found.end(), path)) {
      throw Error(RD_DAMAGED, path + ": listed in bundle.json but not there; copy the bundle again");
    }
  }
}

// What bundle.sig holds; "" where it is not there.
std::string read_signature(const FileDescriptor& folder, const std::vector<std::string>& found) {
  if (!std::binary_search(found.begin(), found.end(), kSignatureFile)) return "";
  const MappedFile file(folder, kSignatureFile);
  check_signature_size(file.bytes().size());
  return std::string(file.bytes());
}

}  // namespace

Bundle::Bundle(const std::string& path, std::string_view public_key_pem, StageClock& clock) {
  const auto folder = open_folder(path);
  const auto text = read_manifest_text(folder, path);
  manifest_ = parse_manifest(text);
  clock.lap("manifest");
  const auto found = list_files(folder);
  check_names(manifest_, found);
  check_files(folder);
  clock.lap("sizes and hashes");
  const auto signature = read_signature(folder, found);
  if (!public_key_pem.empty()) {
    if (signature.empty()) {
      throw Error(
          RD_BAD_SIGNATURE,
          "the bundle has no bundle.sig, a signature was asked for; sign it with `resnet-deploy bundle --sign`, or "
          "do not give a public key");
    }
    check_signature(text, signature, public_key_pem);
    is_signed_ = true;
    clock.lap("signature");
  }
  if (!manifest_.labels.empty()) labels_ = parse_labels(file(manifest_.labels), manifest_.num_classes);
  for (const auto& model : manifest_.models) {
    if (model.format == "engine") check_engine_header(file(model.path), model);
  }
  clock.lap("engine headers");
}

void Bundle::check_files(const FileDescriptor& folder) {
  for (const auto& listed : manifest_.files) {
    MappedFile file(folder, listed.path);
    if (file.bytes().size() != listed.size_bytes) {
      throw Error(RD_DAMAGED, listed.path + ": has " + std::to_string(file.bytes().size()) +
                                  " bytes, bundle.json says " + std::to_string(listed.size_bytes) +
                                  "; copy the bundle again");
    }
    const auto sha256 = sha256_hex(file.bytes());
    if (sha256 != listed.sha256) {
      throw Error(RD_DAMAGED, listed.path + ": its SHA-256 is " + sha256 + ", bundle.json says " + listed.sha256 +
                                  "; copy the bundle again");
    }
    files_.emplace(listed.path, std::move(file));
  }
}

std::vector<std::string> parse_labels(std::string_view text, std::int32_t num_classes) {
  std::vector<std::string> labels;
  while (!text.empty()) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty() || printable(line) != line) {
      throw Error(RD_BAD_MANIFEST, "labels: line " + std::to_string(labels.size() + 1) + " is " +
                                       (line.empty() ? "empty" : "\"" + printable(line) + "\"") +
                                       ", expected a name in UTF-8; make the bundle again");
    }
    labels.emplace_back(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (labels.size() > static_cast<std::size_t>(kMaxClasses)) break;
  }
  if (labels.size() != static_cast<std::size_t>(num_classes)) {
    throw Error(RD_BAD_MANIFEST, "labels: " + std::to_string(labels.size()) + " lines, the network has " +
                                     std::to_string(num_classes) + " classes; give the labels of this network");
  }
  return labels;
}

}  // namespace resnet_deploy
