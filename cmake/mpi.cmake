# tensornorm::mpi: the library with MPI, for tensornorm/mpi.hpp; only where MPI is found.
if(NOT TARGET tensornorm_mpi)
  find_package(MPI QUIET COMPONENTS CXX)
  if(MPI_CXX_FOUND)
    add_library(tensornorm_mpi INTERFACE)
    add_library(tensornorm::mpi ALIAS tensornorm_mpi)
    target_link_libraries(tensornorm_mpi INTERFACE tensornorm::tensornorm MPI::MPI_CXX)
  endif()
endif()
