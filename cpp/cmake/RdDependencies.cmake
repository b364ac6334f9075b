# What the core library is built from. All that is missing is said at once, with the package that has it.
set(rd_missing "")

function(rd_require found what debian vcpkg conan)
  if(NOT ${found})
    set(line "  ${what}: Debian ${debian}, vcpkg ${vcpkg}, conan ${conan}")
    set(rd_missing "${rd_missing}${line}\n" PARENT_SCOPE)
  endif()
endfunction()

find_package(JPEG QUIET)
find_package(PNG QUIET)
find_package(OpenSSL 3 QUIET)
find_package(nlohmann_json 3.9 QUIET)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

rd_require(JPEG_FOUND "libjpeg-turbo (jpeglib.h)" libjpeg-dev libjpeg-turbo libjpeg-turbo)
rd_require(PNG_FOUND "libpng 1.6 (png.h)" libpng-dev libpng libpng)
rd_require(OPENSSL_FOUND "OpenSSL 3 (libcrypto)" libssl-dev openssl openssl)
rd_require(nlohmann_json_FOUND "nlohmann-json 3.9 (nlohmann/json.hpp)" nlohmann-json3-dev nlohmann-json nlohmann_json)
if(RD_TESTS)
  find_path(RD_DOCTEST_HEADER doctest/doctest.h)
  rd_require(RD_DOCTEST_HEADER "doctest (for RD_TESTS)" doctest-dev doctest doctest)
endif()

# Another libjpeg has another inverse DCT: it decodes to other pixels than the contract's.
if(JPEG_FOUND)
  include(CheckCSourceCompiles)
  set(CMAKE_REQUIRED_LIBRARIES JPEG::JPEG)
  check_c_source_compiles(
    "#include <stddef.h>\n#include <stdio.h>\n#include <jpeglib.h>
     #ifndef LIBJPEG_TURBO_VERSION\n#error another libjpeg\n#endif
     int main(void) { return 0; }"
    RD_JPEG_IS_TURBO)
  unset(CMAKE_REQUIRED_LIBRARIES)
  message(STATUS "resnet_deploy: libjpeg is ${JPEG_LIBRARIES}, headers in ${JPEG_INCLUDE_DIRS}")
  if(NOT RD_JPEG_IS_TURBO)
    message(WARNING "resnet_deploy: this libjpeg is not libjpeg-turbo; JPEG images will decode to other pixels, and "
                    "self-tests and the test `pixels` will fail. Name the prefix of libjpeg-turbo in CMAKE_PREFIX_PATH.")
  endif()
endif()

if(rd_missing)
  message(FATAL_ERROR "resnet_deploy: libraries are missing:\n${rd_missing}"
                      "Install them, or name their prefix in CMAKE_PREFIX_PATH.")
endif()
