// Facts about the library at run time: version, instruction set, threads.
#pragma once

#include <instnorm/export.h>

#include <cstdint>
#include <string>
#include <vector>

namespace instnorm {

// "major.minor.patch" of the library that is loaded (INSTNORM_VERSION is that of the headers).
INSTNORM_API const char* version();

// The instruction set in use: one of available_cpu_targets(). The environment variable
// INSTNORM_CPU_TARGET, read at the first use, forces one; any letter case, "AVX-512" and "AVX3"
// mean AVX512. Throws std::invalid_argument, naming the possible ones, if it is unknown or not
// supported here.
INSTNORM_API const char* cpu_target();

// The instruction sets that this build has and this machine can run, best first.
INSTNORM_API std::vector<std::string> available_cpu_targets();

// At most k threads in each call from now on, for the whole process; k >= 1, else
// std::invalid_argument. More than 256, or than there are processors, is as many as that. Results
// do not depend on it, to the bit.
INSTNORM_API void set_num_threads(int k);

// What set_num_threads set; else INSTNORM_NUM_THREADS (read once; std::invalid_argument if it is
// not a positive integer); else what OpenMP would use for a parallel region of the calling thread.
INSTNORM_API int get_num_threads();

// Gives back to the system the memory that freed results have left for the next ones, and returns
// its bytes. Results of 1 MB and more that the library allocates (Tensor; arrays and tensors in
// Python) leave it: pages that are new cost several times what it takes to fill them. At most
// INSTNORM_KEEP_MEMORY megabytes are kept (read once; 512 if it is not set, none if it is 0;
// std::invalid_argument if it is no such number).
INSTNORM_API std::int64_t release_memory();

}  // namespace instnorm
