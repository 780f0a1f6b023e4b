include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# Headers only, so nothing here depends on the architecture: share/, not lib/.
set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/tensornorm)
set(pkgconfig_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)

install(TARGETS tensornorm EXPORT tensornormTargets FILE_SET HEADERS)
install(EXPORT tensornormTargets NAMESPACE tensornorm:: DESTINATION ${package_dir})

configure_package_config_file(
  cmake/tensornormConfig.cmake.in tensornormConfig.cmake INSTALL_DESTINATION ${package_dir}
  NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO
)
write_basic_package_version_file(tensornormConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)

# From the .pc file to the headers by a relative path, so that an installed tree can be moved.
file(RELATIVE_PATH include_dir ${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(cmake/tensornorm.pc.in tensornorm.pc @ONLY)

install(FILES ${PROJECT_BINARY_DIR}/tensornormConfig.cmake ${PROJECT_BINARY_DIR}/tensornormConfigVersion.cmake
              cmake/compiled.cmake cmake/mpi.cmake
        DESTINATION ${package_dir})
install(FILES ${PROJECT_BINARY_DIR}/tensornorm.pc DESTINATION ${pkgconfig_dir})
