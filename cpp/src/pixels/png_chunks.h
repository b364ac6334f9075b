// The frame of a PNG file: its chunks.
#ifndef RESNET_DEPLOY_PIXELS_PNG_CHUNKS_H
#define RESNET_DEPLOY_PIXELS_PNG_CHUNKS_H

#include <cstddef>
#include <cstdint>

namespace resnet_deploy {

struct PngChunks {
  int orientation = 1;  // of the eXIf chunk
};

// Raises RD_BAD_IMAGE where the chunks up to IEND are not whole: one is cut off, its CRC is wrong, IHDR is not first,
// or there is no IDAT, or no PLTE for palette colours. After this libpng meets no damage but within the compressed
// data.
PngChunks check_png_chunks(const uint8_t* bytes, size_t num_bytes);

[[noreturn]] void refuse_png(const char* reason, size_t num_bytes);

}  // namespace resnet_deploy

#endif
