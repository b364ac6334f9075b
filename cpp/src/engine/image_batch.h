// Images as the network takes them: prepared float32 planes, or their pixels where the contract is in the graph.
#ifndef RESNET_DEPLOY_ENGINE_IMAGE_BATCH_H
#define RESNET_DEPLOY_ENGINE_IMAGE_BATCH_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/backend_model.h"
#include "resnet_deploy/c_api.h"

namespace resnet_deploy {

// Memory for tensors, on a cache line; grows, and is kept for the next batch.
class TensorBuffer {
 public:
  std::byte* reserve(std::size_t num_bytes);
  const std::byte* data() const noexcept { return bytes_.get(); }

 private:
  struct Free {
    void operator()(std::byte* bytes) const noexcept;
  };
  std::unique_ptr<std::byte, Free> bytes_;
  std::size_t capacity_ = 0;
};

// How images of one network become its input.
class InputLayout {
 public:
  InputLayout(const rd_preprocess_spec& spec, bool takes_pixels) : spec_(spec), takes_pixels_(takes_pixels) {}

  bool takes_pixels() const noexcept { return takes_pixels_; }
  // The shape of one image's input, N = 1. Throws Error for an image that can not be one.
  Dims image_dims(const rd_image& image) const;
  Dims prepared_dims(std::int64_t batch) const { return {batch, 3, spec_.height_px, spec_.width_px}; }
  std::size_t num_bytes(const Dims& dims) const;
  // Writes num_bytes(image_dims(image)).
  void prepare(const rd_image& image, std::byte* out) const;
  // Which images run together: of one shape, at most `max_batch`, in the order given.
  std::vector<std::vector<std::size_t>> split(const rd_image* images, std::size_t num_images,
                                              std::size_t max_batch) const;

 private:
  rd_preprocess_spec spec_;
  bool takes_pixels_;
};

}  // namespace resnet_deploy

#endif
