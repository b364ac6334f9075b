#include "pixels/decode.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "error.h"
#include "pixels/jpeg.h"
#include "pixels/orientation.h"
#include "pixels/png.h"

namespace resnet_deploy {
namespace {

constexpr std::streamoff kMaxFileBytes = std::streamoff{1} << 31;

std::vector<uint8_t> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) {
    throw Error(RD_NOT_FOUND, path + ": can not be opened (" + std::strerror(errno) + "); check the path");
  }
  const std::streamoff size = file.tellg();
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    throw Error(RD_BAD_IMAGE, path + ": is a folder, expected a JPEG or PNG file; name the files in it");
  }
  if (size < 0 || size > kMaxFileBytes) {
    throw Error(RD_BAD_IMAGE, path + ": is no image file of at most " + std::to_string(kMaxFileBytes) + " bytes");
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(bytes.data()), size);
  if (!file) throw Error(RD_BAD_IMAGE, path + ": can not be read; is the disk failing?");
  return bytes;
}

}  // namespace

void check_size(int64_t width, int64_t height, int64_t max_pixels) {
  if (width * height > max_pixels) {
    throw Error(RD_BAD_IMAGE, "image can not be decoded: " + std::to_string(width) + "x" + std::to_string(height) +
                                  " px is more than max_pixels, " + std::to_string(max_pixels) +
                                  "; raise it where such images are expected");
  }
}

Pixels decode(const uint8_t* bytes, size_t num_bytes, const DecodeOptions& options) {
  int orientation = kUpright;
  Pixels pixels = [&] {
    if (is_jpeg(bytes, num_bytes)) return decode_jpeg(bytes, num_bytes, options.max_pixels, &orientation);
    if (is_png(bytes, num_bytes)) return decode_png(bytes, num_bytes, options.max_pixels, &orientation);
    throw Error(RD_BAD_IMAGE, "image can not be decoded: neither JPEG nor PNG (" + std::to_string(num_bytes) +
                                  " bytes); decode other formats yourself and give the pixels");
  }();
  if (!options.apply_orientation || orientation == kUpright) return pixels;
  return turned(pixels, orientation);
}

Pixels decode_file(const std::string& path, const DecodeOptions& options) {
  const std::vector<uint8_t> bytes = read_file(path);
  try {
    return decode(bytes.data(), bytes.size(), options);
  } catch (const Error& error) {
    throw Error(error.status(), path + ": " + error.what());
  }
}

}  // namespace resnet_deploy
