// The extension module instnorm._C: what it holds and nothing else.
#include <instnorm/runtime.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <dlfcn.h>
#include <omp.h>

#include <string>

#include "arrays.h"
#include "cpu/threads.h"
#include "errors.h"
#include "files.h"
#include "functions.h"
#include "moments.h"
#include "tensors.h"

namespace instnorm::python {
namespace {

// The file of the OpenMP runtime in use: PyTorch's own if that was loaded first.
std::string openmp_library() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&omp_get_max_threads), &info) == 0) return "";
  return info.dli_fname;
}

void init_runtime(nb::module_& module) {
  module.def("version", &version);
  module.def("cpu_target", &cpu_target);
  module.def("available_cpu_targets", &available_cpu_targets);
  module.def("openmp_library", &openmp_library);
  module.def("get_num_threads", &get_num_threads,
             "The number of threads that a call may use.\n\n"
             "What set_num_threads set; else INSTNORM_NUM_THREADS; else what OpenMP would use.\n\n"
             ">>> instnorm.get_num_threads() >= 1\nTrue");
  module.def(
      "set_num_threads",
      [](nb::handle k) {
        const Argument argument{"set_num_threads", "k"};
        if (!PyLong_Check(k.ptr())) {
          argument.fail(PyExc_TypeError, "must be an int, got " + class_of(k));
        }
        int overflow = 0;
        const long value = PyLong_AsLongAndOverflow(k.ptr(), &overflow);
        if (overflow != 0 || value != static_cast<int>(value)) {
          argument.fail(PyExc_ValueError, "must be a number of threads, got " + text(k));
        }
        set_num_threads(static_cast<int>(value));
      },
      nb::arg("k"),
      "Use at most k threads in each call from now on, in the whole process.\n\n"
      "Results do not depend on it, to the bit. Raises ValueError for k < 1.\n\n"
      ">>> k = instnorm.get_num_threads()\n"
      ">>> instnorm.set_num_threads(1)\n"
      ">>> instnorm.get_num_threads()\n"
      "1\n"
      ">>> instnorm.set_num_threads(k)");
  module.def(
      "release_memory", &release_memory,
      "Give back to the system the memory that freed results have left for the next ones.\n\n"
      "Returns its bytes. Results of 1 MB and more leave it: pages that are new cost several "
      "times what it takes to fill them. At most INSTNORM_KEEP_MEMORY megabytes are kept "
      "(an environment variable, read once; 512 if it is not set, none if it is 0).\n\n"
      ">>> _ = instnorm.release_memory()\n"
      ">>> instnorm.release_memory()\n"
      "0");
}

}  // namespace
}  // namespace instnorm::python

NB_MODULE(_C, module) {
  using namespace instnorm::python;
  init_arrays(module);
  init_runtime(module);
  init_functions(module);
  init_moments(module);
  init_tensors(module);
  init_files(module);
  // From now on a forked child works with one thread, whether or not this library has used threads:
  // another one in the process may have, as PyTorch does, and it is the same pool of OpenMP, whose
  // threads do not survive a fork.
  instnorm::cpu::note_threads_used();
}
