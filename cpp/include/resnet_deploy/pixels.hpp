// Images for C++17 and later: decoding, the pixel contract, and the exception that every function of the SDK throws.
// By itself it is enough for a program that only prepares images; engine.hpp includes it.
#ifndef RESNET_DEPLOY_PIXELS_HPP
#define RESNET_DEPLOY_PIXELS_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "resnet_deploy/c_api.h"

namespace resnet_deploy {
// Names of this header are apart from those inside the library, and from those of another ABI.
inline namespace abi1 {

class Error : public std::runtime_error {
 public:
  Error(rd_status status, const std::string& message) : std::runtime_error(message), status_(status) {}

  rd_status status() const noexcept { return status_; }
  const char* status_name() const noexcept { return rd_status_name(status_); }

 private:
  rd_status status_;
};

inline void check(rd_status status) {
  if (status != RD_OK) throw Error(status, rd_last_error());
}

// Pixels that the caller owns, e.g. Image(mat.data, mat.cols, mat.rows, mat.step, RD_BGR8); read during the call only.
struct Image : rd_image {
  template <class Stride = std::int64_t>
  Image(const std::uint8_t* pixels, std::int32_t width, std::int32_t height, Stride stride = 0,
        rd_pixel_format pixel_format = RD_RGB8)
      : rd_image{pixels, width, height, static_cast<std::int64_t>(stride), pixel_format} {}
  explicit Image(const rd_image& image) : rd_image(image) {}
};

struct DecodeOptions {
  bool apply_orientation = false;  // turn by the EXIF tag; the pixel contract takes pixels as stored
  std::int64_t max_pixels = 0;     // larger images are refused; 0: 178,956,970
};

// A decoded image.
class Pixels {
 public:
  static Pixels decode(const void* bytes, std::size_t num_bytes, const DecodeOptions& options = {}) {
    const auto given = c_options(options);
    rd_pixels* pixels = nullptr;
    check(rd_decode(static_cast<const std::uint8_t*>(bytes), num_bytes, &given, &pixels));
    return Pixels(pixels);
  }
  static Pixels decode_file(const std::string& path, const DecodeOptions& options = {}) {
    const auto given = c_options(options);
    rd_pixels* pixels = nullptr;
    check(rd_decode_file(path.c_str(), &given, &pixels));
    return Pixels(pixels);
  }

  Image image() const { return Image(rd_pixels_image(pixels_.get())); }  // valid as long as this
  std::int32_t width() const { return image().width_px; }
  std::int32_t height() const { return image().height_px; }

 private:
  struct Free {
    void operator()(rd_pixels* pixels) const noexcept { rd_pixels_free(pixels); }
  };

  explicit Pixels(rd_pixels* pixels) : pixels_(pixels) {}
  static rd_decode_options c_options(const DecodeOptions& options) {
    rd_decode_options given;
    rd_decode_options_init(&given);
    given.apply_orientation = options.apply_orientation ? 1 : 0;
    if (options.max_pixels != 0) given.max_pixels = options.max_pixels;
    return given;
  }

  std::unique_ptr<rd_pixels, Free> pixels_;
};

// The network's input for one image: float32 [3, height_px, width_px].
inline std::vector<float> preprocess(const rd_preprocess_spec& spec, const Image& image) {
  std::vector<float> out(3 * static_cast<std::size_t>(spec.height_px) * static_cast<std::size_t>(spec.width_px));
  check(rd_preprocess(&spec, &image, out.data()));
  return out;
}

}  // namespace abi1
}  // namespace resnet_deploy

#endif
