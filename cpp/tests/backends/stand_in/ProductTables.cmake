# rd_write_product_tables(<folder of NvInferImpl.h> <file to write>)
#
# NVIDIA's interfaces call through tables of virtual functions, far more of them than a module uses, and other ones in each
# release. This writes classes that have all of them, made from the header that is there: each ends the test, so that what
# the stand-in does not override, a module can not have called.
function(rd_write_product_tables headers file)
  file(READ ${headers}/NvInferImpl.h text)
  string(REGEX REPLACE "//[^\n]*" "" text "${text}")
  set(tables "")
  foreach(name Runtime CudaEngine ExecutionContext RuntimeConfig)
    if(text MATCHES "class V${name} : public VRoot[ \n]*{([^}]*)};")
      string(REGEX REPLACE "=[ \n]*0;" "{ std::abort(); }" body "${CMAKE_MATCH_1}")
      string(APPEND tables "class ${name}Table : public V${name} {${body}};\n")
    endif()
  endforeach()
  file(WRITE ${file}.new "#pragma once\n#include <NvInferRuntime.h>\n#include <cstdlib>\n"
                         "namespace nvinfer1 {\nnamespace apiv {\n${tables}}\n}\n")
  configure_file(${file}.new ${file} COPYONLY)
endfunction()
