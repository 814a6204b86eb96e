# The same sources make the same bytes wherever they and their build lie: debug information and assertions name
# files from the root of the sources on. In a build without optimisation, and in one with sanitizers, debuggers and
# reports find the sources by their paths.
if(INSTNORM_SANITIZE OR MSVC)
  return()
endif()

set(optimised $<CONFIG:Release,RelWithDebInfo,MinSizeRel>)
# Of two that fit, compilers take the last.
add_compile_options(
  "$<${optimised}:-ffile-prefix-map=${PROJECT_SOURCE_DIR}=.;-ffile-prefix-map=${PROJECT_BINARY_DIR}=./build>")
