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

if(rd_missing)
  message(FATAL_ERROR "resnet_deploy: libraries are missing:\n${rd_missing}"
                      "Install them, or name their prefix in CMAKE_PREFIX_PATH.")
endif()
