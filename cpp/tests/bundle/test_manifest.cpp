#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "bundle/bundle_path.h"
#include "bundle/manifest.h"
#include "bundle_writer.h"
#include "refusal.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;
using nlohmann::json;

TEST_CASE("a valid manifest is read in full") {
  const auto manifest = parse_manifest(BundleWriter().manifest_text());
  CHECK(manifest.name == "tiny");
  CHECK(manifest.net == "tinynet");
  CHECK(manifest.num_classes == 5);
  CHECK(manifest.output == "logits");
  CHECK(manifest.preprocess.resize_shorter_px == 20);
  CHECK(manifest.preprocess.mean[2] == 0.125F);
  CHECK(manifest.preprocess.std[0] == 0.25F);
  CHECK(manifest.files.size() == 4);
  REQUIRE(manifest.models.size() == 1);
  CHECK(manifest.models[0].output_size == 5);
  CHECK(manifest.models[0].input_name == "input");
  CHECK(!manifest.models[0].takes_pixels);
  CHECK(manifest.models[0].self_test.expected.size() == 5);
  CHECK(parse_manifest(BundleWriter("", true).manifest_text()).models[0].takes_pixels);
}

namespace {

struct Spoiled {
  const char* what;
  std::function<void(json&)> spoil;
  const char* message;  // part of what is said
};

json& model(json& manifest) { return manifest["models"][0]; }

void make_engine(json& manifest) {
  model(manifest)["format"] = "engine";
  model(manifest)["product"] = "tensorrt-rtx";
  model(manifest)["version"] = "1.7.1.116";
}

const std::vector<Spoiled> kSpoiled = {
    {"schema", [](json& m) { m["schema"] = "resnet-deploy/bundle/2"; },
     "\"resnet-deploy/bundle/2\", this library reads"},
    {"no schema", [](json& m) { m.erase("schema"); }, "schema is missing"},
    {"not an object", [](json& m) { m = json::array(); }, "expected an object"},
    {"unknown field", [](json& m) { m["extra"] = 1; }, "unknown field \"extra\""},
    {"unknown field of a model", [](json& m) { model(m)["flags"] = 1; }, "models[0]: unknown field \"flags\""},
    {"unknown field of a tensor", [](json& m) { model(m)["input"]["layout"] = "x"; }, "input: unknown field"},
    {"name with a slash", [](json& m) { m["name"] = "a/b"; }, "name is \"a/b\""},
    {"made_by", [](json& m) { m["made_by"]["x"] = 3; }, "x is 3, expected a text"},
    {"many makers",
     [](json& m) {
       for (int i = 0; i < 80; ++i) m["made_by"][std::to_string(i)] = "1";
     },
     "at most 64"},
    {"created", [](json& m) { m["created"] = "yesterday"; }, "created is \"yesterday\", expected a time in ISO 8601"},
    {"created in month 13", [](json& m) { m["created"] = "2026-13-01T00:00:00Z"; }, "ISO 8601"},
    {"created without a time", [](json& m) { m["created"] = "2026-12-01"; }, "ISO 8601"},
    {"created at 25 o'clock", [](json& m) { m["created"] = "2026-12-01T25:00:00Z"; }, "ISO 8601"},
    {"created with half an offset", [](json& m) { m["created"] = "2026-12-01T00:00:00+05:"; }, "ISO 8601"},
    {"created with half a fraction", [](json& m) { m["created"] = "2026-12-01T00:00:00.5.5"; }, "ISO 8601"},
    {"created with a tail", [](json& m) { m["created"] = "2026-12-01T00:00:00+00:00 x"; }, "ISO 8601"},
    {"no classes", [](json& m) { m["net"]["num_classes"] = 0; },
     "num_classes is 0, expected an integer from 1 to 100000"},
    {"huge classes", [](json& m) { m["net"]["num_classes"] = 1e18; }, "1e+18, expected an integer"},
    {"fractional", [](json& m) { m["net"]["num_classes"] = 5.5; }, "5.5, expected an integer"},
    {"output", [](json& m) { m["net"]["output"] = "topk"; },
     "\"topk\", expected \"logits\", \"softmax\", \"features\""},
    {"contract", [](json& m) { m["preprocess"]["version"] = 2; }, "version is 2, expected an integer from 1 to 1"},
    {"side", [](json& m) { m["preprocess"]["height_px"] = 16385; }, "16385, expected an integer from 1 to 16384"},
    {"negative resize", [](json& m) { m["preprocess"]["resize_shorter_px"] = -1; }, "resize_shorter_px is -1"},
    {"mean", [](json& m) { m["preprocess"]["mean"] = {1, 2}; }, "mean is 2 numbers, expected 3"},
    {"std of 0", [](json& m) { m["preprocess"]["std"][1] = 0; }, "std[1] is 0"},
    {"huge mean", [](json& m) { m["preprocess"]["mean"][0] = 1e300; }, "mean[0] is 1e+300"},
    {"labels", [](json& m) { m["labels"] = "others.txt"; },
     "labels is \"others.txt\", expected a path that `files` lists"},
    {"golden", [](json& m) { m["golden"]["image"] = "../golden.png"; }, "begins with a dot"},
    {"pixels hash", [](json& m) { m["golden"]["pixels_sha256"] = "ABC"; }, "64 lower-case hexadecimal digits"},
    {"licences", [](json& m) { m["licences"] = "/etc/passwd"; }, "absolute or has an empty part"},
    {"no models", [](json& m) { m["models"] = json::array(); }, "models is a list of 0"},
    {"many models",
     [](json& m) {
       for (int i = 0; i < 64; ++i) m["models"].push_back(model(m));
     },
     "a list of 65"},
    {"model twice", [](json& m) { m["models"].push_back(model(m)); }, "a second time"},
    {"model not listed", [](json& m) { model(m)["path"] = "x.onnx"; },
     "\"x.onnx\", expected a path that `files` lists"},
    {"format", [](json& m) { model(m)["format"] = "pt"; }, "\"pt\", expected \"onnx\", \"engine\""},
    {"product of ONNX", [](json& m) { model(m)["product"] = "tensorrt"; }, "product is \"tensorrt\", expected \"\""},
    {"no product", [](json& m) { model(m)["format"] = "engine"; }, "product is \"\", expected \"tensorrt\""},
    {"version of an engine",
     [](json& m) {
       make_engine(m);
       model(m)["version"] = "1.7";
     },
     "version is \"1.7\""},
    {"version with letters",
     [](json& m) {
       make_engine(m);
       model(m)["version"] = "1.7.1.x";
     },
     "\"1.7.1.x\""},
    {"capability",
     [](json& m) {
       make_engine(m);
       model(m)["compute_capabilities"] = {"86"};
     },
     "such as \"8.6\""},
    {"precision", [](json& m) { model(m)["precision"] = "int4"; }, "\"int4\""},
    {"boolean", [](json& m) { model(m)["hardware_compatible"] = 1; }, "1, expected true or false"},
    {"batch", [](json& m) { model(m)["max_batch"] = -1; }, "max_batch is -1"},
    {"dtype", [](json& m) { model(m)["input"]["dtype"] = "float16"; }, "\"float16\", expected \"float32\", \"uint8\""},
    {"input shape", [](json& m) { model(m)["input"]["shape"] = {-1, 3, 17, 16}; },
     "[-1, 3, 17, 16], expected [-1, 3, 16, 16]"},
    {"fixed batch", [](json& m) { model(m)["input"]["shape"] = {4, 3, 16, 16}; }, "expected [-1, 3, 16, 16]"},
    {"pixels shape", [](json& m) { model(m)["input"]["dtype"] = "uint8"; }, "expected [-1, -1, -1, 3]"},
    {"output batch", [](json& m) { model(m)["output"]["shape"] = {1, 5}; }, "[1, 5], expected [-1, number of outputs]"},
    {"output classes", [](json& m) { model(m)["output"]["shape"] = {-1, 6}; }, "as net.num_classes"},
    {"expected", [](json& m) { model(m)["self_test"]["expected"] = {1}; }, "1 numbers, expected 5"},
    {"expected of another type", [](json& m) { model(m)["self_test"]["expected"][2] = "x"; }, "expected[2] is \"x\""},
    {"expected beyond float", [](json& m) { model(m)["self_test"]["expected"][2] = 1e39; }, "expected[2] is 1e+39"},
    {"no tolerance", [](json& m) { model(m)["self_test"]["max_abs_error"] = 0; }, "max_abs_error is 0"},
    {"no maker of the expectation", [](json& m) { model(m)["self_test"]["measured_on"] = ""; }, "measured_on is empty"},
    {"classes of features", [](json& m) { m["net"]["output"] = "features"; }, "num_classes is 5"},
};

}  // namespace

TEST_CASE("a time may have a fraction, an offset, or none") {
  for (const char* good : {"2026-02-28T23:59:59", "2026-02-28T23:59:59Z", "2026-02-28T23:59:59.123456-05:30"}) {
    BundleWriter writer;
    writer.manifest["created"] = good;
    CHECK_NOTHROW(parse_manifest(writer.manifest_text()));
  }
}

TEST_CASE("a spoiled manifest is refused, and the message names the value") {
  for (const auto& spoiled : kSpoiled) {
    CAPTURE(spoiled.what);
    BundleWriter writer;
    spoiled.spoil(writer.manifest);
    const auto reason = refusal(RD_BAD_MANIFEST, [&] {
      parse_manifest(writer.manifest.is_object() ? writer.manifest_text() : writer.manifest.dump());
    });
    CHECK_MESSAGE(reason.find(spoiled.message) != std::string::npos, reason);
  }
}

TEST_CASE("a spoiled list of files is refused") {
  const json good = {{"path", "model.onnx"}, {"sha256", std::string(64, 'a')}, {"size_bytes", 1}};
  const auto reason = [&](const char* field, const json& value) {
    BundleWriter writer;
    auto entry = good;
    entry[field] = value;
    writer.manifest["files"] = {good, entry};
    return refusal(RD_BAD_MANIFEST, [&] { parse_manifest(writer.manifest_text()); });
  };
  CHECK(reason("path", "model.onnx").find("a second time") != std::string::npos);
  CHECK(reason("path", "MODEL.onnx").find("a second time") != std::string::npos);
  CHECK(reason("path", "Bundle.json").find("hashed before") != std::string::npos);
  CHECK(reason("path", "bundle.sig").find("hashed before") != std::string::npos);
  CHECK(reason("sha256", "xyz").find("64 lower-case") != std::string::npos);
  CHECK(reason("size_bytes", std::int64_t{1} << 40).find("size_bytes is 1099511627776") != std::string::npos);
  CHECK(reason("size_bytes", -1).find("size_bytes is -1") != std::string::npos);
  CHECK(reason("size_bytes", std::uint64_t{18446744073709551615U}).find("18446744073709551615") != std::string::npos);
}

TEST_CASE("paths that lead outside or are not plain have no place") {
  for (const char* good : {"model.onnx", "engines/a-b_c.1.engine", "a/b/c/d/e/f/g/h"}) CHECK(path_fault(good).empty());
  for (const char* bad : {"", "/a", "a//b", "a/", "..", "../a", "a/../b", ".", "./a", ".hidden", "a/.b", "a b", "a\\b",
                          "a\nb", "C:a", "a/b/c/d/e/f/g/h/i", "\xc3\xa4"}) {
    CAPTURE(bad);
    CHECK(!path_fault(bad).empty());
  }
  CHECK(path_fault(std::string(200, 'a')).empty());
  CHECK(!path_fault(std::string(201, 'a')).empty());
}
