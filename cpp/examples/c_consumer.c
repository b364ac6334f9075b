/* The C ABI from plain C: open a bundle, decode images, print the best classes of each. */
#include <resnet_deploy/c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exit_code.h"

#define NUM_BEST 5

static const char kUsage[] =
    "usage: c_consumer BUNDLE IMAGE...\n"
    "Prints the five most probable classes of each JPEG or PNG file.\n"
    "Exit codes: 0 done, 2 wrong usage or input, 3 missing dependency or hardware, 4 another error.\n";

static int report(rd_status status) {
  fprintf(stderr, "error: %s (%s)\n", rd_last_error(), rd_status_name(status));
  return exit_code_of(status);
}

static rd_status classify_file(rd_session* session, const char* path, int32_t num_best) {
  rd_class best[NUM_BEST];
  rd_pixels* pixels = NULL;
  rd_status status = rd_decode_file(path, NULL, &pixels);
  if (status == RD_OK) {
    const rd_image image = rd_pixels_image(pixels);
    status = rd_classify(session, &image, 1, num_best, best);
  }
  rd_pixels_free(pixels);
  if (status != RD_OK) return status;
  printf("%s\n", path);
  for (int32_t i = 0; i < num_best; ++i) {
    printf("  %6.2f %%  %5d  %s\n", 100.0 * (double)best[i].probability, (int)best[i].index, best[i].label);
  }
  return RD_OK;
}

int main(int argc, char** argv) {
  if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
    fputs(kUsage, stdout);
    return kExitDone;
  }
  if (argc < 3) {
    fputs(kUsage, stderr);
    return kExitBadInput;
  }
  if (rd_abi_version() != RD_ABI_VERSION) {
    fprintf(stderr, "error: compiled for ABI %d, the library %s has ABI %u\n", RD_ABI_VERSION, rd_version(),
            (unsigned)rd_abi_version());
    return kExitFailed;
  }

  rd_engine* engine = NULL;
  rd_session* session = NULL;
  rd_engine_info info = {.struct_size = sizeof(info)};
  rd_status status = rd_engine_open(argv[1], NULL, &engine);
  if (status == RD_OK) status = rd_engine_get_info(engine, &info);
  if (status == RD_OK) status = rd_session_create(engine, 1, &session);

  int code = status == RD_OK ? kExitDone : report(status);
  if (status == RD_OK) {
    const int32_t num_best = info.output_size < NUM_BEST ? info.output_size : NUM_BEST;
    for (int i = 2; i < argc; ++i) {
      const rd_status failed = classify_file(session, argv[i], num_best);
      if (failed != RD_OK) code = report(failed);
    }
  }
  rd_session_destroy(session);
  rd_engine_close(engine);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    fputs("error: the results could not be written to the standard output; is the disk full?\n", stderr);
    return kExitFailed;
  }
  return code;
}
