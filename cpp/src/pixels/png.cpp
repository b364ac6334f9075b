// libpng reports errors by a call that must not return, so it leaves by longjmp. No function here that calls setjmp has
// an object with a destructor; what must be freed belongs to PngDecoder.
#include "pixels/png.h"

#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>

#include "pixels/decode.h"
#include "pixels/png_chunks.h"

namespace resnet_deploy {
namespace {

constexpr uint8_t kSignature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
constexpr png_uint_32 kMaxSide = 0x7fffffff;  // check_size decides

class PngDecoder {
 public:
  PngDecoder(const uint8_t* bytes, size_t num_bytes) : next_(bytes), left_(num_bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, leave, stay_silent);
    info_ = png_ != nullptr ? png_create_info_struct(png_) : nullptr;
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;

  // Each is one stretch of calls into libpng; false where it failed, see reason().
  bool read_header() {
    if (setjmp(escape_)) return false;
    png_set_read_fn(png_, this, read);
    png_set_user_limits(png_, kMaxSide, kMaxSide);
    png_set_benign_errors(png_, 1);
    png_set_option(png_, PNG_MAXIMUM_INFLATE_WINDOW, PNG_OPTION_ON);  // some encoders declare too small a window
    // The chunks have been checked. Ancillary ones do not change a pixel: gamma, ICC profiles and transparency are not
    // applied, so they are not even unpacked.
    png_set_crc_action(png_, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_read_info(png_, info_);
    return true;
  }
  bool start() {
    if (setjmp(escape_)) return false;
    png_set_strip_16(png_);  // the upper byte
    png_set_palette_to_rgb(png_);
    png_set_expand_gray_1_2_4_to_8(png_);
    png_set_strip_alpha(png_);
    png_set_gray_to_rgb(png_);
    num_passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }
  bool read_row(uint8_t* row) {
    if (setjmp(escape_)) return false;
    png_read_row(png_, row, nullptr);
    return true;
  }

  int64_t width() const { return png_get_image_width(png_, info_); }
  int64_t height() const { return png_get_image_height(png_, info_); }
  size_t row_bytes() const { return png_get_rowbytes(png_, info_); }
  int num_passes() const { return num_passes_; }
  const char* reason() const { return reason_; }

 private:
  static void leave(png_structp png, png_const_charp text) {
    auto* self = static_cast<PngDecoder*>(png_get_error_ptr(png));
    std::snprintf(self->reason_, sizeof self->reason_, "%s", text);
    std::longjmp(self->escape_, 1);
  }
  static void stay_silent(png_structp, png_const_charp) {}
  static void read(png_structp png, png_bytep to, size_t count) {
    auto* self = static_cast<PngDecoder*>(png_get_io_ptr(png));
    if (count > self->left_) png_error(png, "it is cut off");
    std::memcpy(to, self->next_, count);
    self->next_ += count;
    self->left_ -= count;
  }

  const uint8_t* next_;
  size_t left_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  int num_passes_ = 1;
  std::jmp_buf escape_;
  char reason_[128] = "";
};

}  // namespace

bool is_png(const uint8_t* bytes, size_t num_bytes) {
  return num_bytes >= sizeof kSignature && std::memcmp(bytes, kSignature, sizeof kSignature) == 0;
}

Pixels decode_png(const uint8_t* bytes, size_t num_bytes, int64_t max_pixels, int* orientation) {
  *orientation = check_png_chunks(bytes, num_bytes).orientation;
  PngDecoder decoder(bytes, num_bytes);
  if (!decoder.read_header()) refuse_png(decoder.reason(), num_bytes);
  check_size(decoder.width(), decoder.height(), max_pixels);
  if (!decoder.start()) refuse_png(decoder.reason(), num_bytes);
  Pixels pixels(static_cast<int32_t>(decoder.width()), static_cast<int32_t>(decoder.height()));
  if (decoder.row_bytes() != pixels.row_bytes()) refuse_png("its rows can not be made RGB", num_bytes);
  for (int pass = 0; pass < decoder.num_passes(); ++pass) {
    for (int32_t y = 0; y < pixels.height(); ++y) {
      if (!decoder.read_row(pixels.row(y))) refuse_png(decoder.reason(), num_bytes);
    }
  }
  return pixels;
}

}  // namespace resnet_deploy
