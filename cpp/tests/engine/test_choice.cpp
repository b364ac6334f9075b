#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "engine_file.h"
#include "tiny_engine.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;
namespace fs = std::filesystem;

TEST_CASE("the first model that opens is taken, and why others did not is told") {
  BundleWriter writer("open=9\n");
  writer.add_model("second.onnx", "run=13\n");  // fails its self-test's run
  writer.add_model("third.onnx", "");
  writer.add_model("fourth.onnx", "");
  const auto engine = open_tiny(writer);
  CHECK(engine.info().model == "third.onnx");
  says(engine.info().notes, "model.onnx by fake: model.onnx: scripted to fail at open\nsecond.onnx by fake: ");
  CHECK(engine.info().notes.find("fourth") == std::string::npos);
}

TEST_CASE("where none opens each is named, and the first one's status counts") {
  BundleWriter writer("open=9\n");
  writer.add_model("second.onnx", "open=8\n");
  const auto message = refusal_of(RD_WRONG_GPU, [&] { open_tiny(writer); });
  says(message, "no model of the bundle opens:\nmodel.onnx by fake: ");
  says(message, "\nsecond.onnx by fake: ");
}

TEST_CASE("engines that no backend asked for takes are passed over, and do not set the status") {
  BundleWriter writer("open=10\n");
  auto engine_model = writer.manifest["models"][0];
  writer.add_model("x.engine", "");
  engine_model["path"] = "x.engine";
  engine_model["format"] = "engine";
  engine_model["product"] = "tensorrt-rtx";
  engine_model["version"] = "1.7.1.116";
  engine_model["compute_capabilities"] = {"8.6"};
  writer.files["x.engine"] = engine_file("vtrt", "1.7.1.116", 0x04);
  writer.manifest["models"] = {engine_model, writer.manifest["models"][0]};
  says(refusal_of(RD_ENGINE_REFUSED, [&] { open_tiny(writer); }), "x.engine by fake: does not take tensorrt-rtx files");
  writer.files["model.onnx"] = "fake:\n";
  const auto engine = open_tiny(writer);
  CHECK(engine.info().model == "model.onnx");
  says(engine.info().notes, "x.engine by fake: does not take");
}

TEST_CASE("backends are tried in the order asked for") {
  OpenOptions options;
  options.backends = "nobody,fake";
  const auto engine = open_tiny(BundleWriter(), options);
  CHECK(engine.info().backend == "fake");
  says(engine.info().notes, "model.onnx by nobody: no libresnet_deploy_nobody.so in ");
  for (const char* wrong : {"fake,", ",", "Fake", "../fake", "fake openvino"}) {
    CAPTURE(wrong);
    options.backends = wrong;
    refusal_of(RD_INVALID_ARGUMENT, [&] { open_tiny(BundleWriter(), options); });
  }
}

TEST_CASE("modules that are not what they should be are refused with the reason") {
  const TemporaryFolder modules;
  OpenOptions options;
  options.backend_path = "/gone:" + modules.path().string() + "::" RD_MODULE_DIR;
  const auto reason = [&](const char* name) {
    options.backends = name;
    return refusal_of(RD_NO_BACKEND, [&] { open_tiny(BundleWriter(), options); });
  };
  write_file(modules.path() / "libresnet_deploy_text.so", "no library");
  says(reason("text"), "libresnet_deploy_text.so does not load: ");
  fs::copy_file(RD_LIBRARY, modules.path() / "libresnet_deploy_core.so");
  says(reason("core"), "has no symbol rd_backend_entry");
  fs::copy_file(RD_MODULE_DIR "/libresnet_deploy_fake.so", modules.path() / "libresnet_deploy_renamed.so");
  says(reason("renamed"), "calls itself \"fake\"");
  says(reason("wrong_abi"), "serves backend ABI another, this library expects 1");
  says(reason("nobody"), "no libresnet_deploy_nobody.so in /gone, " + modules.path().string());
}

TEST_CASE("modules are also found through the environment") {
  const TemporaryFolder modules;
  fs::copy_file(RD_MODULE_DIR "/libresnet_deploy_fake.so", modules.path() / "libresnet_deploy_elsewhere.so");
  ::setenv("RESNET_DEPLOY_BACKEND_PATH", modules.path().c_str(), 1);
  OpenOptions options;
  options.backends = "elsewhere";
  says(refusal_of(RD_NO_BACKEND, [&] { open_tiny(BundleWriter(), options); }), "calls itself \"fake\"");
  ::unsetenv("RESNET_DEPLOY_BACKEND_PATH");
}
