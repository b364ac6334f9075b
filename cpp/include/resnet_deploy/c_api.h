/* The C ABI of the resnet-deploy SDK: what every other language calls, and what engine.hpp wraps.
 *
 * Rules that hold for the whole file:
 *  - Every function that can fail returns rd_status; rd_last_error() then has one message for the calling thread:
 *    what failed, what was got, what was expected, and the remedy.
 *  - Handles are opaque. rd_engine and rd_batcher may be used from any number of threads at once; an rd_session,
 *    from one thread at a time.
 *  - A struct that a caller fills begins with struct_size = sizeof(the struct); rd_..._init() sets it and the defaults.
 *    A newer library reads an older, shorter struct and takes defaults for what is missing.
 *  - Strings are UTF-8, zero-terminated. A string that comes out lives as long as the handle it came from.
 *  - No exception leaves the library, and none may leave a callback.
 */
#ifndef RESNET_DEPLOY_C_API_H
#define RESNET_DEPLOY_C_API_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(RD_BUILDING_LIBRARY)
#define RD_API __declspec(dllexport)
#else
#define RD_API __declspec(dllimport)
#endif
#else
#define RD_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a program compiled against an older header could no longer run. */
#define RD_ABI_VERSION 1

typedef enum rd_status {
  RD_OK = 0,
  RD_INVALID_ARGUMENT = 1,  /* the caller broke the contract of the function */
  RD_NOT_FOUND = 2,         /* a file or folder is not there */
  RD_BAD_MANIFEST = 3,      /* bundle.json can not be read, has an unknown schema or a value out of range */
  RD_DAMAGED = 4,           /* a size, a SHA-256 or an engine's header disagrees with the manifest */
  RD_BAD_SIGNATURE = 5,     /* unsigned, or signed by another key */
  RD_NO_BACKEND = 6,        /* the runtime's library, or our module for it, did not load */
  RD_VERSION_MISMATCH = 7,  /* the runtime is of another version than the engine */
  RD_NO_DRIVER = 8,         /* no NVIDIA driver, or no GPU */
  RD_WRONG_GPU = 9,         /* the engine was built for other compute capabilities */
  RD_ENGINE_REFUSED = 10,   /* the runtime could not deserialise or compile the network */
  RD_SELF_TEST_FAILED = 11, /* the golden image did not give the expected logits */
  RD_BAD_IMAGE = 12,        /* bytes that are no image, or an image the network can not take */
  RD_RUN_FAILED = 13,       /* the runtime failed while running */
  RD_UNSUPPORTED = 14,      /* this backend or network can not do it */
  RD_OUT_OF_MEMORY = 15,
  RD_CANCELLED = 16, /* the batcher or session was closed before the request ran */
  RD_BUSY = 17,      /* the queue is full, or a session is used from two threads */
  RD_INTERNAL = 18   /* a fault of this library */
} rd_status;

/* ------------------------------------------------------------------ library */

RD_API uint32_t rd_abi_version(void);   /* RD_ABI_VERSION the library was compiled with */
RD_API const char* rd_version(void);    /* "0.1.0" */
RD_API const char* rd_last_error(void); /* of the calling thread; "" after none; valid until its next call */
RD_API const char* rd_status_name(rd_status status); /* "RD_DAMAGED"; "unknown" for other numbers */

typedef enum rd_log_level { RD_LOG_DEBUG = 0, RD_LOG_INFO = 1, RD_LOG_WARNING = 2, RD_LOG_ERROR = 3 } rd_log_level;

/* May be called from any thread, also at the same time. */
typedef void (*rd_log_fn)(void* user, rd_log_level level, const char* text);

/* ------------------------------------------------------------------ images */

typedef enum rd_pixel_format {
  RD_RGB8 = 0,
  RD_BGR8 = 1,  /* cv::Mat of CV_8UC3 as OpenCV reads it */
  RD_GRAY8 = 2, /* three equal channels */
  RD_RGBA8 = 3, /* alpha is dropped, not blended */
  RD_BGRA8 = 4
} rd_pixel_format;

/* 8-bit pixels that the caller owns; read only during the call, unless a function says otherwise. */
typedef struct rd_image {
  const uint8_t* data;
  int32_t width_px;
  int32_t height_px;
  int64_t stride_bytes; /* from one row to the next; 0 for rows without gap */
  rd_pixel_format format;
} rd_image;

typedef struct rd_decode_options {
  size_t struct_size;
  int32_t apply_orientation; /* 0: as stored, which is the pixel contract; 1: turn by the EXIF tag */
  int64_t max_pixels;        /* larger images are refused before they are decoded; 0 for 178,956,970 */
} rd_decode_options;

typedef struct rd_pixels rd_pixels; /* a decoded image, owned by the library */

RD_API void rd_decode_options_init(rd_decode_options* options);
/* JPEG or PNG bytes to RGB; `options` may be NULL. */
RD_API rd_status rd_decode(const uint8_t* bytes, size_t num_bytes, const rd_decode_options* options, rd_pixels** out);
RD_API rd_status rd_decode_file(const char* path, const rd_decode_options* options, rd_pixels** out);
RD_API rd_image rd_pixels_image(const rd_pixels* pixels); /* valid until rd_pixels_free */
RD_API void rd_pixels_free(rd_pixels* pixels);            /* NULL is fine */

/* `Preprocess` version 1, as in bundle.json; see docs/reference/preprocess.md. */
typedef struct rd_preprocess_spec {
  size_t struct_size;
  int32_t version;
  int32_t height_px;
  int32_t width_px;
  int32_t resize_shorter_px; /* 0: no resize */
  float mean[3];             /* R, G, B, of pixel / 255 */
  float std[3];
} rd_preprocess_spec;

/* The resized and cropped pixels: uint8 [height_px, width_px, 3] RGB. */
RD_API rd_status rd_crop_pixels(const rd_preprocess_spec* spec, const rd_image* image, uint8_t* out);
/* The network's input: float32 [3, height_px, width_px]. */
RD_API rd_status rd_preprocess(const rd_preprocess_spec* spec, const rd_image* image, float* out);

/* ------------------------------------------------------------------ engine */

typedef struct rd_engine rd_engine;

typedef struct rd_open_options {
  size_t struct_size;
  const char* backends;       /* NULL: any, in the bundle's order; else e.g. "tensorrt_rtx,openvino" */
  const char* backend_path;   /* NULL: beside the library, then RESNET_DEPLOY_BACKEND_PATH; else folders with ':' */
  const char* public_key_pem; /* NULL: a signature is not asked for; else the bundle must be signed by this key */
  int32_t device;             /* CUDA device */
  int32_t num_threads;        /* of a CPU runtime for one request; 0: its own choice */
  int32_t skip_self_test;     /* 1: do not run the golden image; for measuring how long the rest takes */
  rd_log_fn log;              /* NULL: silent */
  void* log_user;
} rd_open_options;

RD_API void rd_open_options_init(rd_open_options* options);

/* Open a bundle's folder. In this order, each with its own status: manifest, sizes and hashes of all files, signature,
 * engine header, the runtime's library and version, driver, compute capability, deserialising, self-test. The models of
 * the bundle are tried in its order; where none opens, the error names each with its reason, and the status is the
 * first model's. `options` may be NULL. */
RD_API rd_status rd_engine_open(const char* bundle, const rd_open_options* options, rd_engine** out);
RD_API void rd_engine_close(rd_engine* engine); /* after its sessions and batchers; NULL is fine */

typedef struct rd_engine_info {
  size_t struct_size;
  const char* name;        /* of the bundle */
  const char* net;         /* "resnet50" */
  const char* backend;     /* "openvino" */
  const char* runtime;     /* name and version of the runtime's library */
  const char* device;      /* "CPU", or the GPU's name */
  const char* model;       /* the file that was opened, relative to the bundle */
  const char* precision;   /* "int8" */
  const char* output;      /* "logits", "softmax" or "features" */
  const char* notes;       /* why models before this one did not open, a line each; "" where it was the first */
  int32_t max_batch;       /* largest batch a session can have; 0: no limit */
  int32_t output_size;     /* values an image: K of [N, K] */
  int32_t num_labels;      /* 0: the bundle has none */
  int32_t pixels_in_graph; /* 1: the network itself takes uint8 pixels */
  int32_t is_signed;       /* 1: a signature was there and was checked */
  double self_test_error;  /* largest difference from the expected output; negative where it was not run */
  rd_preprocess_spec preprocess;
} rd_engine_info;

RD_API rd_status rd_engine_get_info(const rd_engine* engine, rd_engine_info* info); /* struct_size set by the caller */
RD_API const char* rd_engine_label(const rd_engine* engine, int32_t index);         /* NULL where there is none */

/* ------------------------------------------------------------------ session: one per thread */

typedef struct rd_session rd_session;

typedef struct rd_class {
  int32_t index;
  float probability;
  const char* label; /* "" where the bundle has none; lives as long as the engine */
} rd_class;

/* max_batch: images that it can run at once; 1 or more. Longer lists are run in several batches. */
RD_API rd_status rd_session_create(rd_engine* engine, int32_t max_batch, rd_session** out);
/* Waits for what was submitted; not from a callback; NULL is fine. */
RD_API void rd_session_destroy(rd_session* session);

/* The k most probable classes of each image, best first; among equals the lower index. `out` holds num_images * k. */
RD_API rd_status rd_classify(rd_session* session, const rd_image* images, size_t num_images, int32_t k, rd_class* out);
/* Preprocessed input [num_images, 3, H, W] float32 -> output [num_images, output_size] float32. */
RD_API rd_status rd_run(rd_session* session, const float* input, size_t num_images, float* output);
/* Images -> output [num_images, output_size]: preprocess and run. */
RD_API rd_status rd_run_images(rd_session* session, const rd_image* images, size_t num_images, float* output);

/* Called once for each request, from a thread of the library. `classes` [num_images * k] lives during the call. */
typedef void (*rd_done_fn)(void* user, rd_status status, const char* error, const rd_class* classes,
                           size_t num_classes);

/* As rd_classify, but returns at once: pixels are prepared in this call (the images need not live longer), the network
 * runs on a thread of the session, in order. Other calls on the session wait for it. At most 256 requests wait; more
 * are refused with RD_BUSY. No call on the session from a callback. */
RD_API rd_status rd_session_submit(rd_session* session, const rd_image* images, size_t num_images, int32_t k,
                                   rd_done_fn done, void* user);

/* Everything on the device, for TensorRT backends: `input` and `output` are device pointers laid out as in rd_run,
 * `stream` is a cudaStream_t. Only enqueues; the caller synchronises. num_images is at most max_batch.
 * RD_UNSUPPORTED elsewhere. */
RD_API rd_status rd_enqueue(rd_session* session, const void* input, size_t num_images, void* output, void* stream);

/* ------------------------------------------------------------------ batcher: merges callers */

typedef struct rd_batcher rd_batcher;

typedef struct rd_batcher_options {
  size_t struct_size;
  int32_t max_batch;    /* 8 */
  int32_t max_delay_us; /* a request waits no longer than this for others: 2000 */
  int32_t num_sessions; /* batches that run at the same time: 1 */
  /* Requests that may wait; more are refused with RD_BUSY: 1024. Each holds its prepared input, 602 kB at 224 x 224. */
  int32_t capacity;
} rd_batcher_options;

typedef struct rd_batcher_stats {
  size_t struct_size;
  uint64_t num_requests; /* answered */
  uint64_t num_batches;  /* run */
  uint64_t num_refused;  /* RD_BUSY */
} rd_batcher_stats;

RD_API void rd_batcher_options_init(rd_batcher_options* options);
RD_API rd_status rd_batcher_create(rd_engine* engine, const rd_batcher_options* options, rd_batcher** out);
/* One image; pixels are prepared in this call. */
RD_API rd_status rd_batcher_submit(rd_batcher* batcher, const rd_image* image, int32_t k, rd_done_fn done, void* user);
RD_API rd_status rd_batcher_get_stats(const rd_batcher* batcher, rd_batcher_stats* stats);
/* Runs what waits, then ends; NULL is fine. Not from a callback. */
RD_API void rd_batcher_destroy(rd_batcher* batcher);

#ifdef __cplusplus
}
#endif
#endif
