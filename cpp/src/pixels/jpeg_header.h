// What is known of a JPEG file before it is decoded.
#ifndef RESNET_DEPLOY_PIXELS_JPEG_HEADER_H
#define RESNET_DEPLOY_PIXELS_JPEG_HEADER_H

#include <cstddef>
#include <cstdint>

namespace resnet_deploy {

struct JpegHeader {
  int frame_marker = 0;  // 0xC0 to 0xCF; 0 where none came before the first scan
  int orientation = 1;   // of the first EXIF segment
};

// Walks the segments up to the first scan; stops where the file is damaged, which the decoder will report.
JpegHeader read_jpeg_header(const uint8_t* bytes, size_t num_bytes);

}  // namespace resnet_deploy

#endif
