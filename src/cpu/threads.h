// How many threads a call may use.
#pragma once

namespace instnorm::cpu {

// get_num_threads(), but 1 inside a parallel region of OpenMP and in a process forked from one that
// had used threads (where OpenMP's would hang: its threads do not survive a fork).
int usable_threads();

// To be called before the first parallel region.
void note_threads_used();

}  // namespace instnorm::cpu
