# tensornorm::compiled: the passes in a static library, compiled once and with the flags of whoever links it. Programs that
# link it compile in a fraction of the time. TENSORNORM_SCALARS says of which scalars.
set(TENSORNORM_SCALARS "float;double;half;bfloat16" CACHE STRING "The scalars of tensornorm::compiled")

# tensornorm_compiled_library(NAME): a library of these sources, which defines TENSORNORM_COMPILED for its users.
function(tensornorm_compiled_library name)
  foreach(unit common ${TENSORNORM_SCALARS})
    set(source ${CMAKE_CURRENT_BINARY_DIR}/tensornorm_compiled/${unit}.cpp)
    file(CONFIGURE OUTPUT ${source} CONTENT "#include <tensornorm/instantiate/${unit}.hpp>\n")
    list(APPEND sources ${source})
  endforeach()
  add_library(${name} STATIC EXCLUDE_FROM_ALL ${sources})
  target_link_libraries(${name} PUBLIC tensornorm::tensornorm)
  target_compile_definitions(${name} PUBLIC TENSORNORM_COMPILED)
endfunction()

if(NOT TARGET tensornorm_compiled)
  tensornorm_compiled_library(tensornorm_compiled)
  add_library(tensornorm::compiled ALIAS tensornorm_compiled)
endif()
