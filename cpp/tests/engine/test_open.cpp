#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tiny_engine.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;

TEST_CASE("an opened engine tells what it is") {
  const auto engine = open_tiny(BundleWriter("max_batch=16\n"));
  const auto& info = engine.info();
  CHECK(info.name == "tiny");
  CHECK(info.net == "tinynet");
  CHECK(info.backend == "fake");
  CHECK(info.runtime == "fake 1");
  CHECK(info.device == "CPU");
  CHECK(info.model == "model.onnx");
  CHECK(info.precision == "fp32");
  CHECK(info.output == "logits");
  CHECK(info.notes.empty());
  CHECK(info.max_batch == 16);
  CHECK(info.output_size == 5);
  CHECK(info.num_labels == 5);
  CHECK(!info.pixels_in_graph);
  CHECK(!info.is_signed);
  CHECK(info.self_test_error >= 0);
  CHECK(info.self_test_error <= 1e-5);
  CHECK(info.preprocess.resize_shorter_px == 20);
  CHECK(engine.label(2) == "cat");
  CHECK(engine.label(5).empty());
  CHECK(engine.label(-1).empty());
}

TEST_CASE("the smaller of the manifest's and the runtime's batch counts") {
  BundleWriter writer("max_batch=16\n");
  writer.manifest["models"][0]["max_batch"] = 4;
  CHECK(open_tiny(writer).info().max_batch == 4);
  writer.manifest["models"][0]["max_batch"] = 32;
  CHECK(open_tiny(writer).info().max_batch == 16);
  const auto engine = open_tiny(writer);
  says(refusal_of(RD_INVALID_ARGUMENT, [&] { engine.session(17); }), "max_batch is 17, model.onnx takes at most 16");
  refusal_of(RD_INVALID_ARGUMENT, [&] { engine.session(0); });
  BatcherOptions options;
  options.max_batch = 17;
  refusal_of(RD_INVALID_ARGUMENT, [&] { engine.batcher(options); });
}

TEST_CASE("the self-test refuses an output that is off") {
  BundleWriter writer;
  auto& expected = writer.manifest["models"][0]["self_test"]["expected"];
  SUBCASE("a value") {
    expected[3] = expected[3].get<double>() + 3e-5;
    says(refusal_of(RD_SELF_TEST_FAILED, [&] { open_tiny(writer); }), "output 3 is ");
  }
  SUBCASE("two classes exchanged") {
    std::swap(expected[0], expected[1]);
    says(refusal_of(RD_SELF_TEST_FAILED, [&] { open_tiny(writer); }), "output 0 is ");
  }
  SUBCASE("not a number") {
    writer.files["model.onnx"] += "nan=1\n";
    says(refusal_of(RD_SELF_TEST_FAILED, [&] { open_tiny(writer); }), "output 0 is nan");
  }
  SUBCASE("other pixels") {
    writer.manifest["golden"]["pixels_sha256"] = std::string(64, '0');
    says(refusal_of(RD_SELF_TEST_FAILED, [&] { open_tiny(writer); }), "the bundle expects 0000");
  }
  SUBCASE("another mean than the network was trained with") {
    writer.manifest["preprocess"]["mean"][0] = 0.51;
    says(refusal_of(RD_SELF_TEST_FAILED, [&] { open_tiny(writer); }), "within 1e-05");
  }
  SUBCASE("no image") {
    writer.files["golden.png"] = "none";
    says(refusal_of(RD_SELF_TEST_FAILED, [&] { open_tiny(writer); }), "golden.png");
  }
  OpenOptions options;
  options.skip_self_test = true;
  CHECK(open_tiny(writer, options).info().self_test_error < 0);
}

TEST_CASE("every failure of a module arrives with its own status and text") {
  for (int number = RD_INVALID_ARGUMENT; number <= RD_INTERNAL; ++number) {
    const auto status = static_cast<rd_status>(number);
    const auto script = [&](const char* key) { return key + ("=" + std::to_string(number) + "\n"); };
    CAPTURE(rd_status_name(status));
    says(refusal_of(status, [&] { open_tiny(BundleWriter(script("open"))); }), "model.onnx: scripted to fail at open");
    OpenOptions options;
    options.skip_self_test = true;
    const auto unwilling = open_tiny(BundleWriter(script("session")), options);
    says(refusal_of(status, [&] { unwilling.session(); }), "scripted to fail at create_session");
    refusal_of(status, [&] { unwilling.batcher(); });
    const auto failing = open_tiny(BundleWriter(script("run")), options);
    auto session = failing.session();
    says(refusal_of(status, [&] { session.run(std::vector<float>(768)); }), "scripted to fail at run");
  }
}

TEST_CASE("a module that fails without a word still gives a message") {
  says(refusal_of(RD_NO_DRIVER, [] { open_tiny(BundleWriter("open=8\nsilent=1\n")); }),
       "fake failed to open the model");
}

TEST_CASE("a real network is never served by the fake backend, which is never chosen unasked") {
  BundleWriter writer;
  writer.files["model.onnx"] = "\x08\x0b real";
  says(refusal_of(RD_ENGINE_REFUSED, [&] { open_tiny(writer); }), "the fake backend computes nothing");
  const TemporaryFolder folder, empty;
  OpenOptions options;
  options.backend_path = empty.path().string();
  const auto message = refusal_of(RD_NO_BACKEND, [&] { Engine::open(BundleWriter().write(folder.path()), options); });
  says(message, "libresnet_deploy_openvino.so");
  says(message, "libresnet_deploy_onnxruntime.so");
  CHECK(message.find("libresnet_deploy_fake") == std::string::npos);
}

TEST_CASE("the log hears what is done") {
  std::vector<std::string> lines;
  OpenOptions options;
  options.log = [&](rd_log_level, std::string_view text) { lines.emplace_back(text); };
  const auto engine = open_tiny(BundleWriter(), options);
  std::string all;
  for (const auto& line : lines) all += line + "\n";
  for (const char* stage :
       {"manifest", "sizes and hashes", "engine headers", "golden image", "module fake", "self-test"}) {
    says(all, "opening: " + std::string(stage) + ": ");
  }
  says(all, "its results mean nothing");
}

TEST_CASE("a log function that throws ends nothing") {
  OpenOptions options;
  options.log = [](rd_log_level, std::string_view) { throw 1; };
  CHECK(open_tiny(BundleWriter(), options).info().name == "tiny");
}
