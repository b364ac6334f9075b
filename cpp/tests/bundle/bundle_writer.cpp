#include "bundle_writer.h"

#include <openssl/evp.h>
#include <png.h>

#include <array>
#include <cmath>
#include <fstream>
#include <stdexcept>

#include "pixels/preprocess.h"

namespace resnet_deploy::test {

namespace {

using nlohmann::json;

constexpr std::uint32_t kGoldenSeed = 7;

std::string png_bytes(const std::vector<std::uint8_t>& pixels, std::int32_t width) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(pixels.size() / 3 / static_cast<std::size_t>(width));
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string bytes(size, '\0');
  if (png_image_write_to_memory(&image, bytes.data(), &size, 0, pixels.data(), 0, nullptr) == 0) {
    throw std::runtime_error(image.message);
  }
  bytes.resize(size);
  return bytes;
}

json make_model(const std::string& path, const std::vector<float>& expected, bool takes_pixels) {
  const json shape = takes_pixels ? json{-1, -1, -1, 3} : json{-1, 3, 16, 16};
  return {
      {"path", path},
      {"format", "onnx"},
      {"product", ""},
      {"version", ""},
      {"precision", "fp32"},
      {"compute_capabilities", json::array()},
      {"hardware_compatible", true},
      {"input", {{"name", "input"}, {"dtype", takes_pixels ? "uint8" : "float32"}, {"shape", shape}}},
      {"output", {{"name", "logits"}, {"dtype", "float32"}, {"shape", {-1, kNumClasses}}}},
      {"max_batch", 0},
      {"self_test", {{"expected", expected}, {"max_abs_error", 1e-5}, {"measured_on", "the test's own arithmetic"}}}};
}

}  // namespace

BundleWriter::BundleWriter(const std::string& script, bool takes_pixels) {
  const auto golden = picture(kGoldenWidth, kGoldenHeight, kGoldenSeed);
  const auto image = view(golden, kGoldenWidth);
  const auto spec = preprocess_spec();
  std::string crop(16 * 16 * 3, '\0');
  crop_pixels(spec, image, reinterpret_cast<std::uint8_t*>(crop.data()));
  auto expected = fake_output_of_image(image);
  if (takes_pixels) {
    std::vector<float> values(golden.begin(), golden.end());
    for (auto& value : values) value /= 255.0F;
    expected = fake_output(values);
  }
  files = {{"model.onnx", "fake:\n" + script},
           {"labels.txt", "ant\nbee\ncat\ndog\neel\n"},
           {"golden.png", png_bytes(golden, kGoldenWidth)},
           {"LICENCES.txt", "made by a test\n"}};
  manifest = {{"schema", "resnet-deploy/bundle/1"},
              {"name", "tiny"},
              {"version", "1"},
              {"created", "2026-01-01T00:00:00+00:00"},
              {"made_by", {{"resnet-deploy", "0.1.0"}}},
              {"net", {{"name", "tinynet"}, {"num_classes", kNumClasses}, {"output", "logits"}}},
              {"preprocess",
               {{"version", 1},
                {"height_px", spec.height_px},
                {"width_px", spec.width_px},
                {"resize_shorter_px", spec.resize_shorter_px},
                {"mean", {0.5, 0.25, 0.125}},
                {"std", {0.25, 0.5, 0.75}}}},
              {"labels", "labels.txt"},
              {"golden", {{"image", "golden.png"}, {"pixels_sha256", sha256_text(crop)}}},
              {"licences", "LICENCES.txt"},
              {"files", json::array()},
              {"models", json::array({make_model("model.onnx", expected, takes_pixels)})}};
}

json& BundleWriter::add_model(const std::string& path, const std::string& script) {
  files[path] = "fake:\n" + script;
  auto model = manifest["models"][0];
  model["path"] = path;
  manifest["models"].push_back(model);
  return manifest["models"].back();
}

std::string BundleWriter::manifest_text() const {
  auto written = manifest;
  if (written["files"].is_array() && written["files"].empty()) {
    for (const auto& [path, bytes] : files) {
      written["files"].push_back({{"path", path}, {"sha256", sha256_text(bytes)}, {"size_bytes", bytes.size()}});
    }
  }
  return written.dump(1);
}

std::string BundleWriter::write(const std::filesystem::path& folder) const {
  std::filesystem::create_directories(folder);
  for (const auto& [path, bytes] : files) write_file(folder / path, bytes);
  write_file(folder / "bundle.json", manifest_text());
  if (!signature.empty()) write_file(folder / "bundle.sig", signature);
  return folder.string();
}

std::vector<std::uint8_t> picture(std::int32_t width, std::int32_t height, std::uint32_t seed) {
  std::vector<std::uint8_t> pixels(3 * static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
  std::uint32_t state = seed * 2654435761U + 1;
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    state = state * 1664525U + 1013904223U;
    const auto smooth = i * (seed % 13 + 1) / pixels.size() * 20;
    pixels[i] = static_cast<std::uint8_t>(smooth + (state >> 24) % (seed % 90 + 10));
  }
  return pixels;
}

rd_image view(const std::vector<std::uint8_t>& pixels, std::int32_t width) {
  return {pixels.data(), width, static_cast<std::int32_t>(pixels.size() / 3 / static_cast<std::size_t>(width)), 0,
          RD_RGB8};
}

rd_preprocess_spec preprocess_spec() {
  return {sizeof(rd_preprocess_spec), 1, 16, 16, 20, {0.5F, 0.25F, 0.125F}, {0.25F, 0.5F, 0.75F}};
}

std::vector<float> fake_output(const std::vector<float>& input) {
  std::vector<float> output;
  for (std::size_t k = 0; k < kNumClasses; ++k) {
    double sum = 0;
    for (std::size_t i = 0; i < input.size(); ++i) sum += (static_cast<double>((i * 7 + k * 13) % 31) - 15) * input[i];
    output.push_back(static_cast<float>(sum / static_cast<double>(input.size())));
  }
  return output;
}

std::vector<float> fake_output_of_image(const rd_image& image) {
  std::vector<float> input(3 * 16 * 16);
  preprocess(preprocess_spec(), image, input.data());
  return fake_output(input);
}

void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream stream(path, std::ios::binary);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!stream.flush()) throw std::runtime_error("can not write " + path.string());
}

std::string sha256_text(const std::string& bytes) {
  std::array<unsigned char, 32> digest{};
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  std::string text;
  for (const unsigned byte : digest) {
    text += "0123456789abcdef"[byte / 16];
    text += "0123456789abcdef"[byte % 16];
  }
  return text;
}

}  // namespace resnet_deploy::test
