# What our own programs are compiled with; guests never see it.
find_package(Threads REQUIRED)
add_library(tensornorm_strict INTERFACE)
target_link_libraries(tensornorm_strict INTERFACE tensornorm::tensornorm Threads::Threads)
target_compile_options(
  tensornorm_strict INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -Wno-psabi
)
