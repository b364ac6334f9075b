#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "bundle/bundle.h"
#include "bundle/digest.h"
#include "bundle/folder.h"
#include "bundle_writer.h"
#include "engine_file.h"
#include "refusal.h"
#include "temporary_folder.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;
namespace fs = std::filesystem;

namespace {

const Log kSilent;

void open_bundle(const fs::path& folder) {
  StageClock clock(kSilent);
  const Bundle bundle(folder.string(), "", clock);
}

std::string open_refusal(rd_status status, const fs::path& folder) {
  return refusal(status, [&] { open_bundle(folder); });
}

bool says(const std::string& message, const std::string& part) {
  const bool found = message.find(part) != std::string::npos;
  CHECK_MESSAGE(found, message);
  return found;
}

}  // namespace

TEST_CASE("SHA-256 is that of FIPS 180-4's examples") {
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_CASE("a whole bundle opens, with its labels") {
  const TemporaryFolder folder;
  BundleWriter().write(folder.path());
  StageClock clock(kSilent);
  const Bundle bundle(folder.path().string(), "", clock);
  CHECK(bundle.labels() == std::vector<std::string>{"ant", "bee", "cat", "dog", "eel"});
  CHECK(bundle.file("model.onnx") == "fake:\n");
  CHECK(!bundle.is_signed());
}

TEST_CASE("what is not a bundle's folder is not found") {
  const TemporaryFolder folder;
  says(open_refusal(RD_NOT_FOUND, folder.path() / "gone"), "No such file");
  says(open_refusal(RD_NOT_FOUND, folder.path()), folder.path().string() + ": bundle.json: not there");
  write_file(folder.path() / "archive.tar.gz", "x");
  says(open_refusal(RD_NOT_FOUND, folder.path() / "archive.tar.gz"), "not a folder; unpack");
}

TEST_CASE("files that are changed, cut, missing or too many are damage") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "b";
  BundleWriter writer;
  writer.write(path);
  SUBCASE("a byte flipped") {
    writer.files["model.onnx"][0] = 'g';
    write_file(path / "model.onnx", writer.files["model.onnx"]);
    says(open_refusal(RD_DAMAGED, path), "model.onnx: its SHA-256 is");
  }
  SUBCASE("cut") {
    fs::resize_file(path / "golden.png", 100);
    says(open_refusal(RD_DAMAGED, path), "golden.png: has 100 bytes, bundle.json says");
  }
  SUBCASE("emptied") {
    fs::resize_file(path / "golden.png", 0);
    says(open_refusal(RD_DAMAGED, path), "golden.png: has 0 bytes");
  }
  SUBCASE("missing") {
    fs::remove(path / "labels.txt");
    says(open_refusal(RD_DAMAGED, path), "labels.txt: listed in bundle.json but not there");
  }
  SUBCASE("not listed") {
    write_file(path / "engines" / "other.engine", "x");
    says(open_refusal(RD_DAMAGED, path), "engines/other.engine: in the bundle's folder but not in bundle.json");
  }
  SUBCASE("an empty folder") {
    fs::create_directory(path / "engines");
    says(open_refusal(RD_DAMAGED, path), "engines: an empty folder");
  }
  SUBCASE("folders without end") {
    write_file(path / "a/a/a/a/a/a/a/a/a/a/a", "x");
    says(open_refusal(RD_DAMAGED, path), "nested deeper than 8");
  }
  SUBCASE("a huge manifest") {
    fs::resize_file(path / "bundle.json", (4 << 20) + 1);
    says(open_refusal(RD_BAD_MANIFEST, path), "4194305 bytes, at most 4194304");
  }
}

TEST_CASE("links, fifos and folders in place of files are refused, and nothing waits for them") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "b";
  const BundleWriter writer;
  writer.write(path);
  const auto outside = folder.path() / "outside";
  write_file(outside / "labels.txt", writer.files.at("labels.txt"));
  fs::remove(path / "labels.txt");
  SUBCASE("a link outside, to the very same bytes") {
    fs::create_symlink(outside / "labels.txt", path / "labels.txt");
    says(open_refusal(RD_DAMAGED, path), "labels.txt: is a link");
  }
  SUBCASE("a link that leads nowhere") {
    fs::create_symlink("gone", path / "labels.txt");
    says(open_refusal(RD_DAMAGED, path), "labels.txt: is a link");
  }
  SUBCASE("a fifo") {
    REQUIRE(::mkfifo((path / "labels.txt").c_str(), 0600) == 0);
    says(open_refusal(RD_DAMAGED, path), "fifo");
  }
  SUBCASE("a folder") {
    write_file(path / "labels.txt" / "x", "x");
    says(open_refusal(RD_DAMAGED, path), "labels.txt/x: in the bundle's folder but not");
  }
  SUBCASE("the manifest a link") {
    fs::rename(path / "bundle.json", outside / "bundle.json");
    fs::create_symlink(outside / "bundle.json", path / "bundle.json");
    says(open_refusal(RD_DAMAGED, path), "bundle.json: is a link");
  }
  SUBCASE("the manifest a fifo") {
    fs::remove(path / "bundle.json");
    REQUIRE(::mkfifo((path / "bundle.json").c_str(), 0600) == 0);
    says(open_refusal(RD_DAMAGED, path), "bundle.json: not a plain file");
  }
}

TEST_CASE("a folder on the way that is a link is not followed") {
  const TemporaryFolder folder;
  write_file(folder.path() / "outside" / "x", "secret");
  fs::create_directory(folder.path() / "b");
  fs::create_directory_symlink(folder.path() / "outside", folder.path() / "b" / "engines");
  const auto opened = open_folder((folder.path() / "b").string());
  says(refusal(RD_DAMAGED, [&] { MappedFile(opened, "engines/x"); }), "engines/x");
  says(refusal(RD_DAMAGED, [&] { list_files(opened); }), "engines: is a link");
}

TEST_CASE("labels are one for each class") {
  CHECK(parse_labels("a\r\nb\n", 2) == std::vector<std::string>{"a", "b"});
  CHECK(parse_labels("a\nb", 2) == std::vector<std::string>{"a", "b"});
  says(refusal(RD_BAD_MANIFEST, [] { parse_labels("a\nb\n", 3); }), "2 lines, the network has 3 classes");
  says(refusal(RD_BAD_MANIFEST, [] { parse_labels(std::string("a\0b\n", 4), 1); }), "line 1 is \"a\\x00b\"");
  says(refusal(RD_BAD_MANIFEST, [] { parse_labels("\na\n", 2); }), "line 1 is empty");
  says(refusal(RD_BAD_MANIFEST, [] { parse_labels("\xff\n", 1); }), "line 1 is \"\\xff\"");
  std::string many;
  for (int i = 0; i < 200000; ++i) many += "x\n";
  says(refusal(RD_BAD_MANIFEST, [&] { parse_labels(many, 5); }), "100001 lines");
}

TEST_CASE("an engine whose header is not what the manifest says is damage") {
  const TemporaryFolder folder;
  BundleWriter writer;
  auto& model = writer.add_model("engines/x.engine", "");
  model["format"] = "engine";
  model["product"] = "tensorrt-rtx";
  model["version"] = "1.7.1.116";
  model["compute_capabilities"] = {"8.6"};
  writer.files["engines/x.engine"] = engine_file("vtrt", "1.6.1.5", 0x04);
  says(open_refusal(RD_DAMAGED, writer.write(folder.path() / "wrong")), "version 1.6.1.5, bundle.json says 1.7.1.116");
  writer.files["engines/x.engine"] = engine_file("vtrt", "1.7.1.116", 0x04);
  open_bundle(writer.write(folder.path() / "right"));
}
