// libjpeg reports errors by a call that must not return, so it leaves by longjmp. No function here that calls setjmp
// has an object with a destructor; what must be freed belongs to JpegDecoder.
#include "pixels/jpeg.h"

#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it
#include <string>
#include <vector>

#include "error.h"
#include "pixels/decode.h"
#include "pixels/jpeg_header.h"

namespace resnet_deploy {
namespace {

constexpr int kMaxScans = 256;  // cameras and encoders write up to about 20; every scan costs a pass over all pixels

[[noreturn]] void refuse(const std::string& reason, size_t num_bytes) {
  throw Error(RD_BAD_IMAGE, "image can not be decoded: " + reason + " (JPEG, " + std::to_string(num_bytes) +
                                " bytes); remove or replace this file");
}

struct JpegErrors {
  jpeg_error_mgr base;  // first, so that a pointer to it is one to the whole
  std::jmp_buf escape;
  char text[JMSG_LENGTH_MAX];
};

void leave(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  errors->base.format_message(info, errors->text);
  std::longjmp(errors->escape, 1);
}

void stay_silent(j_common_ptr) {}

// The whole file is in memory, so more never comes: the decoder stops, and the file is cut off.
boolean no_more_input(j_decompress_ptr) { return FALSE; }

void skip_input(j_decompress_ptr info, long count) {
  const size_t wanted = count > 0 ? static_cast<size_t>(count) : 0;
  const size_t skipped = std::min(wanted, info->src->bytes_in_buffer);
  info->src->next_input_byte += skipped;
  info->src->bytes_in_buffer -= skipped;
}

void ignore(j_decompress_ptr) {}

void limit_scans(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  std::snprintf(errors->text, sizeof errors->text, "more than %d scans", kMaxScans);
  std::longjmp(errors->escape, 1);
}

class JpegDecoder {
 public:
  JpegDecoder(const uint8_t* bytes, size_t num_bytes) {
    info_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = leave;
    errors_.base.output_message = stay_silent;
    errors_.text[0] = 0;
    source_.next_input_byte = bytes;
    source_.bytes_in_buffer = num_bytes;
    source_.init_source = ignore;
    source_.fill_input_buffer = no_more_input;
    source_.skip_input_data = skip_input;
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.term_source = ignore;
    progress_.progress_monitor = limit_scans;
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&info_); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  // Each is one stretch of calls into libjpeg; false where it failed, see reason().
  bool read_header() {
    if (setjmp(errors_.escape)) return false;
    jpeg_create_decompress(&info_);
    info_.src = &source_;
    info_.progress = &progress_;
    return jpeg_read_header(&info_, TRUE) == JPEG_HEADER_OK;
  }
  bool start() {
    if (setjmp(errors_.escape)) return false;
    info_.out_color_space = info_.num_components == 4 ? JCS_CMYK : JCS_RGB;
    return jpeg_start_decompress(&info_) != FALSE;
  }
  bool read_row(uint8_t* row) {
    if (setjmp(errors_.escape)) return false;
    return jpeg_read_scanlines(&info_, &row, 1) == 1;
  }
  // What follows the last row: it may be cut off there, but not be damaged.
  bool finish() {
    if (setjmp(errors_.escape)) return false;
    jpeg_finish_decompress(&info_);
    return true;
  }

  int32_t width() const { return static_cast<int32_t>(info_.image_width); }
  int32_t height() const { return static_cast<int32_t>(info_.image_height); }
  int num_components() const { return info_.num_components; }
  std::string reason() const { return errors_.text[0] != 0 ? errors_.text : "it is cut off"; }

 private:
  jpeg_decompress_struct info_{};
  jpeg_source_mgr source_{};
  jpeg_progress_mgr progress_{};
  JpegErrors errors_{};
};

int times_over_255(int a, int b) {  // round(a * b / 255)
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

// As Adobe writes it, inverted: 255 is no ink.
void rgb_from_cmyk(const uint8_t* cmyk, int32_t width, uint8_t* rgb) {
  for (int32_t x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    for (int channel = 0; channel < 3; ++channel) {
      rgb[channel] = static_cast<uint8_t>(std::max(0, cmyk[3] - times_over_255(255 - cmyk[channel], cmyk[3])));
    }
  }
}

void check_frame(int marker, size_t num_bytes) {
  if (marker == 0 || (marker >= 0xC0 && marker <= 0xC2)) return;
  refuse("its frame is SOF" + std::to_string(marker - 0xC0) + ", expected baseline, extended or progressive",
         num_bytes);
}

}  // namespace

bool is_jpeg(const uint8_t* bytes, size_t num_bytes) {
  return num_bytes >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

Pixels decode_jpeg(const uint8_t* bytes, size_t num_bytes, int64_t max_pixels, int* orientation) {
  const JpegHeader header = read_jpeg_header(bytes, num_bytes);
  check_frame(header.frame_marker, num_bytes);
  *orientation = header.orientation;
  JpegDecoder decoder(bytes, num_bytes);
  if (!decoder.read_header()) refuse(decoder.reason(), num_bytes);
  check_size(decoder.width(), decoder.height(), max_pixels);
  if (decoder.num_components() != 1 && decoder.num_components() != 3 && decoder.num_components() != 4) {
    refuse(std::to_string(decoder.num_components()) + " components, expected 1, 3 or 4", num_bytes);
  }
  if (!decoder.start()) refuse(decoder.reason(), num_bytes);
  Pixels pixels(decoder.width(), decoder.height());
  std::vector<uint8_t> cmyk(decoder.num_components() == 4 ? 4 * static_cast<size_t>(decoder.width()) : 0);
  for (int32_t y = 0; y < pixels.height(); ++y) {
    if (!decoder.read_row(cmyk.empty() ? pixels.row(y) : cmyk.data())) refuse(decoder.reason(), num_bytes);
    if (!cmyk.empty()) rgb_from_cmyk(cmyk.data(), pixels.width(), pixels.row(y));
  }
  if (!decoder.finish()) refuse(decoder.reason(), num_bytes);
  return pixels;
}

}  // namespace resnet_deploy
