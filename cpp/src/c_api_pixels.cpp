// The C ABI of images: decoding, cropping and preprocessing.
#include "c_struct.h"
#include "guard.h"
#include "pixels/decode.h"
#include "pixels/preprocess.h"
#include "resnet_deploy/c_api.h"

struct rd_pixels {
  resnet_deploy::Pixels pixels;
};

namespace {

using resnet_deploy::DecodeOptions;
using resnet_deploy::Error;

rd_decode_options default_options() { return {sizeof(rd_decode_options), 0, 0}; }

DecodeOptions read_options(const rd_decode_options* given) {
  const rd_decode_options options = resnet_deploy::read_c_struct(given, default_options(), "rd_decode_options");
  if (options.max_pixels < 0) {
    throw Error(RD_INVALID_ARGUMENT, "rd_decode_options.max_pixels is " + std::to_string(options.max_pixels) +
                                         ", expected 1 or more, or 0 for the default");
  }
  DecodeOptions read;
  read.apply_orientation = options.apply_orientation != 0;
  if (options.max_pixels != 0) read.max_pixels = options.max_pixels;
  return read;
}

rd_preprocess_spec read_spec(const rd_preprocess_spec* given) {
  if (given == nullptr) throw Error(RD_INVALID_ARGUMENT, "spec is NULL; give the one of rd_engine_get_info");
  return resnet_deploy::read_c_struct(given, rd_preprocess_spec{}, "rd_preprocess_spec");
}

void check_pointers(const char* function, const void* in, const void* out) {
  if (in == nullptr || out == nullptr) {
    throw Error(RD_INVALID_ARGUMENT,
                std::string(function) + ": " + (in == nullptr ? "the input" : "`out`") + " is NULL");
  }
}

}  // namespace

void rd_decode_options_init(rd_decode_options* options) {
  if (options != nullptr) *options = default_options();
}

rd_status rd_decode(const uint8_t* bytes, size_t num_bytes, const rd_decode_options* options, rd_pixels** out) {
  return resnet_deploy::guarded([&] {
    check_pointers("rd_decode", bytes, out);
    *out = nullptr;
    *out = new rd_pixels{resnet_deploy::decode(bytes, num_bytes, read_options(options))};
  });
}

rd_status rd_decode_file(const char* path, const rd_decode_options* options, rd_pixels** out) {
  return resnet_deploy::guarded([&] {
    check_pointers("rd_decode_file", path, out);
    *out = nullptr;
    *out = new rd_pixels{resnet_deploy::decode_file(path, read_options(options))};
  });
}

rd_image rd_pixels_image(const rd_pixels* pixels) { return pixels != nullptr ? pixels->pixels.view() : rd_image{}; }

void rd_pixels_free(rd_pixels* pixels) { delete pixels; }

rd_status rd_crop_pixels(const rd_preprocess_spec* spec, const rd_image* image, uint8_t* out) {
  return resnet_deploy::guarded([&] {
    check_pointers("rd_crop_pixels", image, out);
    resnet_deploy::crop_pixels(read_spec(spec), *image, out);
  });
}

rd_status rd_preprocess(const rd_preprocess_spec* spec, const rd_image* image, float* out) {
  return resnet_deploy::guarded([&] {
    check_pointers("rd_preprocess", image, out);
    resnet_deploy::preprocess(read_spec(spec), *image, out);
  });
}
