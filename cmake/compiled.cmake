# tensornorm::compiled: the passes in a static library. Programs that link it compile in a fraction of the time. It is
# compiled with the flags of the directory that adds the library or finds its package: a flag such as -march belongs
# there, for all that link it. Where flags would disagree about memory, linking fails: `undefined reference to Engine`.
set(TENSORNORM_SCALARS "float;double;half;bfloat16" CACHE STRING "The scalars of tensornorm::compiled")

# tensornorm_compiled_library(NAME [layers] [whitening]): a library of the passes of these, or of both, which defines
# TENSORNORM_COMPILED for its users. What a program does not use of Whitening or of a scalar it does not link: each is a
# file of its own.
function(tensornorm_compiled_library name)
  set(parts ${ARGN})
  if(NOT parts)
    set(parts layers whitening)
  endif()
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/tensornorm_compiled)
  set(sources ${folder}/common.cpp)
  file(CONFIGURE OUTPUT ${folder}/common.cpp CONTENT "#include <tensornorm/instantiate/common.hpp>\n")
  if(NOT TENSORNORM_SCALARS)
    message(FATAL_ERROR "TENSORNORM_SCALARS is empty: it may hold float, double, half and bfloat16")
  endif()
  foreach(scalar IN LISTS TENSORNORM_SCALARS)
    if(NOT scalar MATCHES "^(float|double|half|bfloat16)$")
      message(FATAL_ERROR "TENSORNORM_SCALARS holds ${scalar}: it may hold float, double, half and bfloat16")
    endif()
    string(REGEX REPLACE "^(half|bfloat16)$" "Eigen::\\1" type ${scalar})
    foreach(what IN LISTS parts)
      string(TOUPPER TENSORNORM_INSTANTIATE_${what} macro)
      set(source ${folder}/${what}_${scalar}.cpp)
      file(CONFIGURE OUTPUT ${source} CONTENT "#include <tensornorm/instantiate/${what}.hpp>\n${macro}(${type});\n")
      list(APPEND sources ${source})
    endforeach()
  endforeach()
  add_library(${name} STATIC EXCLUDE_FROM_ALL ${sources})
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)  # a shared library may link it
  target_link_libraries(${name} PUBLIC tensornorm::tensornorm)
  target_compile_definitions(${name} PUBLIC TENSORNORM_COMPILED)
endfunction()

if(NOT TARGET tensornorm_compiled)
  tensornorm_compiled_library(tensornorm_compiled)
  add_library(tensornorm::compiled ALIAS tensornorm_compiled)
endif()
