/* What a backend module (libresnet_deploy_<name>.so) gives to the core, loaded at run time.
 *
 * C, so that module and core may come from different compilers. The core calls `open` after it has checked the
 * manifest, hashes, signature and the engine's header; the module checks its runtime's version, the driver and the
 * compute capability, deserialises, and says which of these failed.
 */
#ifndef RESNET_DEPLOY_BACKEND_H
#define RESNET_DEPLOY_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "resnet_deploy/c_api.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RD_BACKEND_ABI 1

/* Where a function of a module puts its message; the text is cut off, never overrun. */
typedef struct rd_backend_error {
  char text[2048];
} rd_backend_error;

typedef enum rd_element { RD_FLOAT32 = 0, RD_UINT8 = 1 } rd_element;

/* One model of a bundle, its bytes already checked against the manifest. */
typedef struct rd_model_source {
  size_t struct_size;
  const void* bytes; /* lives until close */
  size_t num_bytes;
  const char* file;                    /* for messages */
  const char* format;                  /* "onnx" or "engine" */
  const char* product;                 /* "tensorrt", "tensorrt-rtx" or "" for ONNX */
  const char* version;                 /* "1.7.1.116": the library that built it; "" for ONNX */
  const int32_t* compute_capabilities; /* major * 10 + minor; none: not said */
  size_t num_compute_capabilities;
  const char* input_name;
  const char* output_name;
  rd_element input_element; /* RD_UINT8: pixels [N, H, W, 3], any H and W */
  int32_t num_outputs;      /* K of the output [N, K] float32 */
  int32_t device;
  int32_t num_threads;
  rd_log_fn log; /* never NULL */
  void* log_user;
  int32_t hardware_compatible; /* 1: also runs where the compute capability is above the smallest of the list */
} rd_model_source;

typedef struct rd_model_info {
  size_t struct_size;
  char runtime[128]; /* "OpenVINO 2026.4.1" */
  char device[128];
  int32_t max_batch; /* 0: any */
} rd_model_info;

typedef struct rd_backend {
  size_t struct_size;
  uint32_t abi;     /* RD_BACKEND_ABI */
  const char* name; /* "openvino" */
  /* Whether it can take a model of this format and product at all; no library is loaded for the answer. */
  int32_t (*takes)(const char* format, const char* product);
  rd_status (*open)(const rd_model_source* source, void** model, rd_model_info* info, rd_backend_error* error);
  void (*close)(void* model);
  /* A session is used from one thread at a time; several may run at once. */
  rd_status (*create_session)(void* model, int32_t max_batch, void** session, rd_backend_error* error);
  void (*destroy_session)(void* session);
  /* Host memory. dims: [N, 3, H, W] for float32, [N, H, W, 3] for uint8; output [N, K] float32. */
  rd_status (*run)(void* session, const void* input, const int64_t dims[4], float* output, rd_backend_error* error);
  /* Device memory; NULL where there is none. */
  rd_status (*enqueue)(void* session, const void* input, const int64_t dims[4], float* output, void* stream,
                       rd_backend_error* error);
} rd_backend;

/* The one symbol of a module. NULL where it can not serve a core of this ABI. */
typedef const rd_backend* (*rd_backend_entry_fn)(uint32_t core_abi);
#define RD_BACKEND_ENTRY "rd_backend_entry"

#ifdef __cplusplus
}
#endif
#endif
