# What makes a wrong access of memory an end instead of an entry, in everything that is built here. A build with
# sanitizers has better; one without optimisation cannot have _FORTIFY_SOURCE. The kernels' files are left
# without the stack protector (src/CMakeLists.txt).
if(NOT INSTNORM_HARDENING OR INSTNORM_SANITIZE OR MSVC)
  return()
endif()

add_compile_options(-fstack-protector-strong)

# Level 3 needs a compiler and a libc that know it: others warn and take it for 2.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_FLAGS "-O2 -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
check_cxx_source_compiles([[
  #include <cstring>
  #if !defined(__GLIBC__) || !defined(__USE_FORTIFY_LEVEL) || __USE_FORTIFY_LEVEL < 3
  #error
  #endif
  int main() {}]] INSTNORM_FORTIFY_3)
unset(CMAKE_REQUIRED_FLAGS)
set(level 2)
if(INSTNORM_FORTIFY_3)
  set(level 3)
endif()
set(optimised $<CONFIG:Release,RelWithDebInfo,MinSizeRel>)
# Undefined first: distributions' compilers define it themselves, and would warn.
add_compile_options("$<${optimised}:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=${level}>")

if(CMAKE_EXECUTABLE_FORMAT STREQUAL "ELF")
  add_link_options(LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack)
endif()
