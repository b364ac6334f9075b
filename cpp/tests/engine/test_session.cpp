#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>
#include <vector>

#include "tiny_engine.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;

namespace {

std::vector<Picture> pictures(std::size_t count) {
  std::vector<Picture> all;
  for (std::size_t i = 0; i < count; ++i) {
    all.emplace_back(static_cast<std::int32_t>(20 + i % 7 * 5), static_cast<std::int32_t>(18 + i % 5 * 9),
                     static_cast<std::uint32_t>(i));
  }
  return all;
}

std::vector<Image> images_of(const std::vector<Picture>& all) {
  std::vector<Image> images;
  for (const auto& one : all) images.push_back(one.image());
  return images;
}

}  // namespace

TEST_CASE("classes are those of the oracle, whatever the batches") {
  const auto engine = open_tiny(BundleWriter());
  const auto all = pictures(11);
  for (const int max_batch : {1, 3, 8, 64}) {
    CAPTURE(max_batch);
    auto session = engine.session(max_batch);
    const auto found = session.classify(images_of(all), 3);
    REQUIRE(found.size() == all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      check_equal(found[i], expected_classes(fake_output_of_image(all[i].image()), 3));
    }
  }
}

TEST_CASE("run, run_images and classify agree") {
  const auto engine = open_tiny(BundleWriter());
  auto session = engine.session(4);
  const auto all = pictures(6);
  std::vector<float> input;
  std::vector<float> expected;
  for (const auto& one : all) {
    const auto prepared = preprocess(engine.info().preprocess, one.image());
    input.insert(input.end(), prepared.begin(), prepared.end());
    const auto output = fake_output(prepared);
    expected.insert(expected.end(), output.begin(), output.end());
  }
  CHECK(session.run(input) == expected);
  CHECK(session.run_images(images_of(all)) == expected);
  check_equal(session.classify(all[0].image(), 5), expected_classes({expected.begin(), expected.begin() + 5}, 5));
}

TEST_CASE("with the contract in the graph, pixels of mixed sizes come back in order") {
  const auto engine = open_tiny(BundleWriter("", true));
  CHECK(engine.info().pixels_in_graph);
  auto session = engine.session(2);
  const auto all = pictures(9);
  std::vector<float> expected;
  for (const auto& one : all) {
    std::vector<float> values(one.pixels.begin(), one.pixels.end());
    for (auto& value : values) value /= 255.0F;
    for (const float score : fake_output(values)) expected.push_back(score);
  }
  const auto found = session.run_images(images_of(all));
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-5));
  says(refusal_of(RD_UNSUPPORTED, [&] { session.run(std::vector<float>(768)); }), "takes uint8 pixels");
  refusal_of(RD_UNSUPPORTED, [&] { session.enqueue(found.data(), 1, expected.data(), nullptr); });
}

TEST_CASE("a softmax output is not put through softmax again, features have no classes") {
  BundleWriter writer;
  OpenOptions options;
  options.skip_self_test = true;
  const Picture one(30, 30, 3);
  writer.manifest["net"]["output"] = "softmax";
  const auto scores = fake_output_of_image(one.image());
  CHECK(open_tiny(writer, options).session().classify(one.image(), 1)[0].probability ==
        *std::max_element(scores.begin(), scores.end()));
  writer.manifest["net"]["output"] = "features";
  writer.manifest["net"]["num_classes"] = 0;
  writer.manifest["labels"] = nullptr;
  const auto engine = open_tiny(writer, options);
  auto session = engine.session();
  says(refusal_of(RD_UNSUPPORTED, [&] { session.classify(one.image(), 1); }), "gives features, not classes");
  refusal_of(RD_UNSUPPORTED, [&] { session.submit({one.image()}, 1); });
  refusal_of(RD_UNSUPPORTED, [&] { engine.batcher(); });
  CHECK(session.run_images({one.image()}) == scores);
  CHECK(engine.info().num_labels == 0);
}

TEST_CASE("arguments out of range are refused and leave the session usable") {
  const auto engine = open_tiny(BundleWriter());
  auto session = engine.session(2);
  const Picture one(30, 30, 3);
  says(refusal_of(RD_INVALID_ARGUMENT, [&] { session.classify(one.image(), 0); }), "k is 0, expected 1 to 5");
  says(refusal_of(RD_INVALID_ARGUMENT, [&] { session.classify(one.image(), 6); }), "k is 6");
  refusal_of(RD_INVALID_ARGUMENT, [&] { session.classify(one.image(), -1); });
  refusal_of(RD_INVALID_ARGUMENT, [&] { session.classify(std::vector<Image>{}, 1); });
  refusal_of(RD_INVALID_ARGUMENT, [&] { session.run(std::vector<float>(767)); });
  refusal_of(RD_INVALID_ARGUMENT, [&] { session.classify(Image(nullptr, 4, 4), 1); });
  refusal_of(RD_BAD_IMAGE, [&] { session.classify(Image(one.pixels.data(), 0, 4), 1); });
  CHECK(session.classify(one.image(), 5).size() == 5);
}

TEST_CASE("a run that fails is told, and the next one may work again") {
  OpenOptions options;
  options.skip_self_test = true;
  const auto engine = open_tiny(BundleWriter("run=13\nrun_from=2\n"), options);
  auto session = engine.session();
  const std::vector<float> input(768);
  session.run(input);
  session.run(input);
  says(refusal_of(RD_RUN_FAILED, [&] { session.run(input); }), "scripted to fail at run");
}

TEST_CASE("NaN in the output is a failed classification") {
  OpenOptions options;
  options.skip_self_test = true;
  auto session = open_tiny(BundleWriter("nan=1\n"), options).session();
  const Picture one(30, 30, 3);
  says(refusal_of(RD_RUN_FAILED, [&] { session.classify(one.image(), 1); }), "output 0 is NaN");
  CHECK(std::isnan(session.run_images({one.image()})[0]));
}

TEST_CASE("device memory is for backends that have it") {
  const std::vector<float> input(768, 0.5F);
  std::vector<float> output(5);
  auto host_only = open_tiny(BundleWriter()).session();
  refusal_of(RD_UNSUPPORTED, [&] { host_only.enqueue(input.data(), 1, output.data(), nullptr); });
  auto session = open_tiny(BundleWriter("device_memory=1\n")).session();
  session.enqueue(input.data(), 1, output.data(), nullptr);
  CHECK(output == fake_output(input));
  says(refusal_of(RD_INVALID_ARGUMENT, [&] { session.enqueue(input.data(), 2, output.data(), nullptr); }),
       "num_images is 2");
}

TEST_CASE("a session used by two threads at once refuses one of them") {
  auto session = open_tiny(BundleWriter("delay_us=2000\n")).session();
  const std::vector<float> input(768);
  std::atomic<bool> was_refused{false};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto use = [&] {
    std::vector<float> output(5);
    while (!was_refused && std::chrono::steady_clock::now() < until) {
      try {
        session.run(input.data(), 1, output.data());
      } catch (const Error& error) {
        CHECK(error.status() == RD_BUSY);
        was_refused = true;
      }
    }
  };
  std::thread other(use);
  use();
  other.join();
  CHECK(was_refused);
}
