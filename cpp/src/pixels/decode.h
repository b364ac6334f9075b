// From the bytes of a JPEG or PNG file to RGB pixels.
#ifndef RESNET_DEPLOY_PIXELS_DECODE_H
#define RESNET_DEPLOY_PIXELS_DECODE_H

#include <cstddef>
#include <cstdint>
#include <string>

#include "pixels/image.h"

namespace resnet_deploy {

struct DecodeOptions {
  bool apply_orientation = false;
  int64_t max_pixels = 178956970;  // 512 MiB of RGB; Pillow's limit against decompression bombs
};

// Raises RD_BAD_IMAGE: no JPEG or PNG, damaged, cut off, of a kind outside the contract, or too large.
Pixels decode(const uint8_t* bytes, size_t num_bytes, const DecodeOptions& options = {});

// Raises also RD_NOT_FOUND; `path` is part of the message.
Pixels decode_file(const std::string& path, const DecodeOptions& options = {});

// For decoders: raises RD_BAD_IMAGE before memory is taken.
void check_size(int64_t width, int64_t height, int64_t max_pixels);

}  // namespace resnet_deploy

#endif
