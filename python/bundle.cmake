# Copies the libraries that `module` needs and a machine may lack into `folder` of the installation.
file(GET_RUNTIME_DEPENDENCIES LIBRARIES ${module}
     PRE_INCLUDE_REGEXES "^lib(hwy|gomp|omp)\\.so" PRE_EXCLUDE_REGEXES "."
     RESOLVED_DEPENDENCIES_VAR libraries)
set(destination "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/${folder}")
file(MAKE_DIRECTORY ${destination})
foreach(library IN LISTS libraries)
  # Under the name by which it is looked for, whatever the link of that name leads to.
  cmake_path(GET library FILENAME name)
  file(REAL_PATH ${library} real)
  message(STATUS "Installing: ${destination}/${name}")
  file(COPY_FILE ${real} ${destination}/${name} ONLY_IF_DIFFERENT)
endforeach()
