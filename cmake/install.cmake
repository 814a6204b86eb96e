# What an installation holds: headers, the library, its CMake package, its pkg-config file.
include(CMakePackageConfigHelpers)

install(DIRECTORY include/instnorm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS instnorm EXPORT instnorm-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT instnorm-targets NAMESPACE instnorm::
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/instnorm)

configure_package_config_file(cmake/instnorm-config.cmake.in
  ${PROJECT_BINARY_DIR}/instnorm-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/instnorm)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/instnorm-config-version.cmake
  COMPATIBILITY SameMinorVersion)

# Relative to the file itself, so that an installation may be moved, or installed with --prefix.
file(RELATIVE_PATH pc_prefix
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
set(pc_libdir "\${prefix}")
set(pc_includedir "\${prefix}")
cmake_path(APPEND pc_libdir ${CMAKE_INSTALL_LIBDIR})
cmake_path(APPEND pc_includedir ${CMAKE_INSTALL_INCLUDEDIR})
configure_file(cmake/instnorm.pc.in ${PROJECT_BINARY_DIR}/instnorm.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/instnorm-config.cmake
              ${PROJECT_BINARY_DIR}/instnorm-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/instnorm)
install(FILES ${PROJECT_BINARY_DIR}/instnorm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
